"""config.json of a model from a stranger: the model loads and gives a picture, or the file and the field are named."""

import functools
import json
import shutil

import torch

import rlenhance.pipelines  # noqa: F401
from rlenhance.hub.info import CONFIG, MODEL, read_info
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.learning.nn.backbones import BACKBONES
from tests.stress._json import mutated
from tests.stress.registry import Broken, Case, Property

_SMALL = {"compact": {"name": "compact", "width": 8}, "gru": {"name": "gru_fcn", "width": 8, "dilations": (1, 2)}}
_MADE = {
    "tone": ("pixel_policy", {"actions": {"name": "tone"}, "backbone": _SMALL["compact"], "decision_size": 16,
                              "preferences": {"exposure_level": (0.2, 0.5, 0.7)}, "auto": ("exposure_level",)}),
    "curve": ("pixel_policy", {"actions": {"name": "curve", "kind": "categorical"}, "backbone": _SMALL["compact"],
                               "decision_size": None, "horizon": 2}),
    "restorer": ("restorer", {"backbone": _SMALL["compact"]}),
    "filters": ("filter_policy", {"backbone": _SMALL["gru"], "noise": (5, 55), "horizon": 2}),
    "denoiser": ("denoiser", {"widths": (8, 8, 8)}),
    "patches": ("patch_denoiser", {"latent_dim": 8, "width": 8, "widths": (8, 8, 8)}),
    "latent": ("pixel_policy", {
        "actions": {"name": "latent", "width": 8, "widths": (8, 8, 8), "codes": 32, "groups": 2, "axes": 2},
        "backbone": _SMALL["compact"], "decision_size": None, "std_mode": "predicted", "sees_initial_image": True,
        "horizon": 2}),
    "fill": ("completion_policy", {"backbone": _SMALL["compact"], "horizon": 2,
                                   "prior": {"name": "gated_pixelrnn", "width": 8}}),
    "prior": ("prior", {"widths": (8, 8, 8)}),
    "combined": ("combined", {"width": 8, "generator_width": 8, "blocks": 1}),
    "ffdnet": ("ffdnet", {"width": 8, "layers": 3}), "zero_dce": ("zero_dce", {"width": 8}),
    "convlstm": ("convlstm_autoencoder", {"widths": (8, 8, 8), "looks": 2}),
    "rellie": ("rellie", {"width": 8}), "pixelrl": ("pixelrl", {"width": 8})}


@functools.cache
def _saved(name):
    """The files of a small model: config.json as a value, weights as bytes."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        kind, arguments = _MADE[name]
        torch.manual_seed(0)
        place = save_checkpoint(Path(folder) / "model", MODELS.create(kind, **arguments), {"step": 1})
        return json.loads((place / CONFIG).read_text()), (place / MODEL).read_bytes()


def cases(rng):
    """Every kind of model in turn, its config.json changed."""
    words = (*MODELS, *BACKBONES, *ACTION_SETS, "enhance", "denoise", "categorical", "predicted", "every", "none")
    while True:
        for name in _MADE:
            config, _ = _saved(name)
            yield Case(name, mutated(rng, config, words))


def check(case, folder):
    """Load the model, and give it a picture."""
    place = folder / case.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / CONFIG).write_bytes(case.data)
    (place / MODEL).write_bytes(_saved(case.name)[1])
    info = read_info(place)
    model = load_model(place)
    channels = 1 if getattr(model, "channels", 3) == 1 else 3
    image = torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)[:, :channels]
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:16, 8:16] = 1
    with torch.inference_mode():
        out = model(image, mask if info.needs_mask or info.purpose == "completion" else None)
    if not torch.isfinite(out).all():
        raise Broken(f"{out.shape} with {int((~torch.isfinite(out)).sum())} numbers that are not finite")


PROPERTY = Property("model_configs", "A model's config.json from elsewhere gives a model that acts, or one line that "
                    "names the file.", cases, check, share=1.0, seconds=10, mib=600, block=100, short=4)
