"""The two completion networks as they were published: their training, their files, and the holes of pairs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlenhance.agents import Supervised, SupervisedConfig
from rlenhance.agents.supervised import supervised_losses
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.published_weights import epochs_of_log, newest_checkpoint, read_gated_pixelrnn
from rlenhance.experiments.core.train import train
from rlenhance.experiments.scripts.import_weights import main
from rlenhance.experiments.tasks.completion import (
    COMPLETION,
    CompletionConfig,
    CompletionDataConfig,
    CompletionTrainConfig,
)
from rlenhance.experiments.tasks.restore import RESTORE, supervised_config
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreDataConfig,
    RestoreNetworkConfig,
    RestoreTrainConfig,
    training_of,
)
from rlenhance.experiments.tasks.restore_recipes import RECIPES
from rlenhance.io import write
from rlenhance.learning.data import Batch, CompletionSampler, ImageCache, open_completion
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import ssim_map
from rlenhance.learning.models import MODELS, warm_start
from rlenhance.learning.models.warm_start import backbone_recipe
from tests.support.bedrooms import BOXES, boxes, make_bedrooms, overlap
from tests.support.published import made_up_gated

pytestmark = pytest.mark.usefixtures("no_curves")

GATED, CONVLSTM = "gated_pixelrnn", "convlstm_autoencoder"


def config(model, data=None, paper=True, widths=(), **settings):
    """A training of one update on small pictures."""
    parts = {key: settings.pop(key) for key in ("masks", "mask_threshold") if key in settings}
    return RestoreConfig(
        RestoreTrainConfig(**{"device": "cpu", "progress": False, "val_images": 2, "batch_size": 2, "updates": 1,
                              **settings}),
        RestoreDataConfig(data=data, size=32, **parts), RestoreNetworkConfig(model, paper_config=paper, widths=widths))


@pytest.fixture
def published(tmp_path):
    return make_bedrooms(tmp_path)


# --- the published forms ---


def test_the_published_settings_are_those_of_the_texts():
    """Sizes, epochs, batches, rates, losses over the whole picture, pairs as they are, plain Adam."""
    gated, conv = (training_of(RestoreConfig(network=RestoreNetworkConfig(name, paper_config=True)))
                   for name in (GATED, CONVLSTM))
    assert (gated.size, gated.epochs, gated.batch_size, gated.learning_rate) == (128, 200, 4, 1e-4)
    assert (conv.size, conv.epochs, conv.batch_size, conv.learning_rate) == (256, 20, 16, 1e-3)
    assert gated.loss == {"l1": 0.8, "ssim": 0.2} and conv.loss == {"mse": 0.8, "ssim": 0.2}
    assert (gated.ssim_radius, gated.ssim_padding, conv.ssim_radius, conv.ssim_padding) == (3, "zeros", 5, "none")
    assert gated.checkpoint_epochs == 1
    for form in (gated, conv):
        assert not form.over_hole and form.masks == "given" and not form.varied
        assert (form.warmup_steps, form.max_grad_norm, form.final_lr_ratio, form.ema_decay) == (0, 0, 1, 0)
    ours = training_of(RestoreConfig(network=RestoreNetworkConfig(GATED)))
    assert ours.over_hole and ours.masks == "drawn" and ours.ssim_padding == "reflect" and not ours.checkpoint_epochs


def test_batch_normalisation_is_trained(generator):
    """In the gated layers and in the residual blocks: its weights get gradients, its statistics move."""
    torch.manual_seed(0)
    network = MODELS.create(GATED, width=4, **RECIPES[GATED].published.arguments)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 3 + 2 * 2
    before = [norm.running_mean.clone() for norm in norms]
    learner = Supervised(network, supervised_config(training_of(config(GATED))))
    target, mask = torch.rand(2, 3, 32, 32, generator=generator), torch.zeros(2, 1, 32, 32)
    mask[..., 8:18, 8:18] = 1
    learner.step(Batch(target * (1 - mask), target, mask))
    assert all(norm.weight.grad.abs().max() > 0 for norm in norms)
    assert all(not torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))


def test_batch_normalisation_folds_into_the_convolutions(generator):
    """In evaluation mode the features stay the same, with fewer parameters."""
    torch.manual_seed(0)
    network = MODELS.create(GATED, width=4, **RECIPES[GATED].published.arguments)
    image, mask = torch.rand(2, 3, 32, 32, generator=generator), torch.zeros(2, 1, 32, 32)
    network.train()(image, mask)
    backbone, folded = network.eval().backbone, network.backbone.folded().eval()
    planes = torch.cat([image, mask], dim=1)
    assert torch.allclose(backbone(planes)[0], folded(planes)[0], atol=1e-5)
    policy = MODELS.create("pixel_policy", actions={"name": "curve", "agent_stride": 1}, uses_mask=True,
                           backbone=backbone_recipe(backbone), decision_size=16)
    warm_start(policy, network)
    assert torch.equal(policy.backbone.state_dict()["before.0.weight"], folded.state_dict()["before.0.weight"])
    assert folded.spec["batch_norm"] is False and not any("norm" in name for name, _ in folded.named_parameters())


def test_the_published_loss_is_not_divided_by_the_holes_share(generator):
    """L1 over all pixels, SSIM's windows beyond the border on zeros, or within it alone."""
    target, mask = torch.rand(1, 3, 32, 32, generator=generator), torch.zeros(1, 1, 32, 32)
    mask[..., 4:12, 4:12] = 1
    output = target + 0.1 * mask
    plain, whole = (supervised_losses(SupervisedConfig(l1=1.0, ssim=0.0, over_hole=over), output,
                                      Batch(target, target, mask))[0]
                    for over in (True, False))
    assert plain["loss/l1"].item() == pytest.approx(0.1, rel=1e-4)
    assert whole["loss/l1"].item() == pytest.approx(0.1 * 64 / 1024, rel=1e-4)
    noise = torch.rand(1, 3, 32, 32, generator=generator)
    reflect, zeros, none = (ssim_map(noise, target, 3, padding) for padding in ("reflect", "zeros", "none"))
    assert zeros.mean() > reflect.mean()  # both are black beyond the border
    assert none.shape[-2:] == (26, 26) and torch.allclose(none, zeros[..., 3:-3, 3:-3], atol=1e-5)
    window = torch.exp(-0.5 * (torch.arange(-3.0, 4) / 1.5) ** 2)
    window = (window[:, None] * window / window.sum() ** 2).expand(3, 1, 7, 7)
    mx, my, xx, yy, xy = (torch.nn.functional.conv2d(part, window, padding=3, groups=3) for part in
                          (noise, target, noise**2, target**2, noise * target))
    wanted = (2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4) / (
        (mx**2 + my**2 + 1e-4) * (xx - mx**2 + yy - my**2 + 9e-4))
    assert torch.allclose(zeros, wanted, atol=1e-4)
    with pytest.raises(UsageError, match=r"ssim_padding is one of reflect, zeros, none"):
        SupervisedConfig(ssim_padding="wrap")


def test_the_published_autoencoder_gives_the_whole_picture(generator):
    """Its output and its loss are of all pixels; ours leaves the known ones as they are."""
    image, mask = torch.rand(1, 3, 32, 32, generator=generator), torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    for whole in (True, False):
        network = MODELS.create(CONVLSTM, widths=(4, 4, 8), whole_output=whole).eval()
        with torch.no_grad():
            output = network(image, mask)
        assert torch.equal(output * (1 - mask), image * (1 - mask)) != whole


@pytest.mark.parametrize("name, widths", [(GATED, (4,)), (CONVLSTM, (4, 4, 8))])
def test_the_published_training_runs_on_the_pairs(published, tmp_path, name, widths):
    """On the holes that the pairs have; the gated one keeps each epoch; both end with three rows of samples."""
    result = train(RESTORE, config(name, published, widths=widths, out=tmp_path, name="run", epochs=1, updates=None,
                                   batch_size=4))
    stored = json.loads((tmp_path / "run/config.json").read_text())["recipe"]
    assert stored["masks"] == "given" and not stored["over_hole"] and result.fitted.updates == 2
    assert (tmp_path / "run/checkpoints/epoch-0001").is_dir() == (name == GATED)
    assert (tmp_path / "run/epochs.tsv").read_text().startswith("epoch\tlearning_rate\tl1\tssim\ttotal\n1\t")
    again = load_network(tmp_path / "run/best")
    assert any("norm" in key for key in again.state_dict()) == (name == GATED)


# --- the holes of pairs ---


def test_pairs_are_trained_with_their_own_holes_or_with_new_ones(published, tmp_path):
    """given, drawn, or both in turn; the picture outside a given hole is the occluded file's."""
    examples, cache = open_completion(published).train, ImageCache()
    true = boxes(*BOXES)
    shares = {}
    for masks in ("given", "drawn", "both"):
        sampler = CompletionSampler(examples, cache, 112, masks=masks, least=1.0, mirrored=False)
        batch = sampler.batch(0, 12)
        assert (batch.image * batch.mask).abs().max() == 0 and torch.equal(batch.mask, sampler.batch(0, 12).mask)
        shares[masks] = np.mean([overlap(mask[0].numpy() > 0, true) > 0.85 for mask in batch.mask])
    assert shares["given"] == 1 and shares["drawn"] == 0 and 0 < shares["both"] < 1
    parts = CompletionSampler(examples, cache, 48, masks="given").batch(0, 8)
    assert (parts.mask.flatten(1).mean(dim=1) > 0).all() and parts.target.shape == (8, 3, 48, 48)
    with pytest.raises(UsageError, match="masks is one of given, drawn, both; got 'none'"):
        CompletionSampler(examples, cache, 48, masks="none")
    with pytest.raises(UsageError, match=r"masks 'given' are those of pairs.*(.|\n)*occluded_images"):
        train(RESTORE, config(GATED, None, paper=False, widths=(4,), masks="given", out=tmp_path))


def test_complete_train_takes_the_pairs_holes(published, tmp_path):
    """As network_train does."""
    settings = CompletionConfig(
        CompletionTrainConfig(learner="supervised", name="run", out=tmp_path, updates=1, batch_size=2, device="cpu",
                              progress=False, eval_interval=1, val_images=1),
        CompletionDataConfig(data=published, size=32, window=24, masks="given"))
    settings = replace(settings, network=replace(settings.network, widths=(8, 8)))
    assert train(COMPLETION, settings).fitted.updates == 1


# --- their files ---


@pytest.fixture
def checkpoints(tmp_path):
    """checkpoints/ as the gated PixelRNN's project leaves it."""
    place = tmp_path / "checkpoints"
    (place / "samples").mkdir(parents=True)
    for epoch in (90, 100):
        tensors = made_up_gated()
        tensors["output_conv.2.bias"] += epoch
        torch.save(tensors, place / f"model_epoch{epoch}.pth")
        write(np.full((24, 32, 3), epoch, np.uint8), place / f"samples/sample_epoch{epoch}.png")
    (place / "training_log.txt").write_text("Epoch\tLR\tL1\tSSIM\tTotal\n1\t0.0001\t0.0213\t0.8911\t0.0388\n"
                                            "2\t0.0001\t0.0190\t0.9\t0.0352\n")
    return place


def test_a_checkpoints_folder_is_imported(checkpoints, tmp_path):
    """The newest epoch, its log as epochs.tsv, its samples; with batch normalisation, so that it may go on."""
    assert newest_checkpoint(checkpoints).name == "model_epoch100.pth"
    run = main(GATED, checkpoints, tmp_path / "run")
    assert json.loads((run / "config.json").read_text())["origin"]["file"] == "model_epoch100.pth"
    assert (run / "epochs.tsv").read_text().splitlines() == [
        "epoch\tlearning_rate\tl1\tssim\ttotal", "1\t0.0001\t0.0213\t0.8911\t0.0388", "2\t0.0001\t0.019\t0.9\t0.0352"]
    assert (run / "samples/sample_epoch-000100.png").is_file()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in load_network(run).modules())
    assert epochs_of_log("Epoch 3/200\tLR: 1e-04\tL1: 0.02\tSSIM: 0.9\tTotal: 0.036\n").endswith(
        "\n3\t0.0001\t0.02\t0.9\t0.036\n")
    assert epochs_of_log("nothing here") is None
    with pytest.raises(UsageError, match=r"samples: no such file, and no model_epochN.pth in it"):
        main(GATED, checkpoints / "samples", tmp_path / "other")


def test_training_goes_on_from_a_pth(checkpoints, tmp_path):
    """--init takes the file, the folder, or the imported run; another shape names the option that fits."""
    run = main(GATED, checkpoints, tmp_path / "run")
    wanted = read_gated_pixelrnn(checkpoints / "model_epoch100.pth").state_dict()
    for place in (checkpoints / "model_epoch100.pth", checkpoints, run):
        network = MODELS.create(GATED, **RECIPES[GATED].published.arguments)
        RESTORE.initialize(network, place)
        assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())
    with pytest.raises(UsageError, match="train gated_pixelrnn with --paper-config"):
        RESTORE.initialize(MODELS.create(GATED), checkpoints / "model_epoch100.pth")
    torch.save({"weights": print}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="other pickles can run code and are never loaded"):
        RESTORE.initialize(MODELS.create(GATED), tmp_path / "evil.pth")
