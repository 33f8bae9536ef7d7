"""What is saved is checked, whole and loads back; what is damaged or could run code is refused."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rlenhance.core import PURPOSES
from rlenhance.core.errors import UsageError
from rlenhance.hub.info import read_info
from rlenhance.learning.hub import checkpoint
from rlenhance.learning.hub.checkpoint import (
    CONFIG,
    MODEL,
    TRAINING,
    find_checkpoint,
    flatten,
    load_model,
    load_network,
    load_training,
    read_config,
    restore,
    save_checkpoint,
)
from rlenhance.learning.models import MODELS, Policy, build_model
from tests.support.networks import CHOICE, every_model, make_model, make_policy, stir, use

FORMAT_1 = Path(__file__).parents[1] / "support/format1"


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a policy, with something to resume from."""
    return save_checkpoint(tmp_path / "best", stir(make_policy(preferences=CHOICE)), {"step": 7},
                           {"optimiser": [torch.ones(2)]})


@every_model
def test_saved_and_loaded_gives_the_same_output(name, tmp_path, image):
    """Every network of the registry gives the same pictures, bit by bit, after it was saved and loaded."""
    network = stir(make_model(name))
    save_checkpoint(tmp_path / "best", network)
    loaded = load_model(tmp_path / "best")
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(use(loaded, image), use(build_model(network), image))


def test_what_is_known_of_a_checkpoint_is_kept(saved):
    """The facts beside the weights come back, and nothing but the named files is in the folder."""
    assert read_config(saved)["about"] == {"step": 7}
    assert load_network(saved).spec == json.loads(json.dumps(make_policy(preferences=CHOICE).spec))
    assert {path.name for path in saved.iterdir()} == {MODEL, CONFIG, TRAINING}
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


def test_saving_again_replaces_the_whole(saved):
    """The second checkpoint takes the place of the first, and nothing of the first is left."""
    save_checkpoint(saved, stir(make_policy(), 0.2), {"step": 8})
    assert read_config(saved)["about"] == {"step": 8}
    assert not (saved / TRAINING).exists()
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


@every_model
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(name, value, tmp_path):
    """A NaN among the weights is named and nothing is written; the old checkpoint stays."""
    network = make_model(name)
    save_checkpoint(tmp_path / "best", network, {"step": 1})
    before = (tmp_path / "best" / MODEL).read_bytes()
    weight, parameter = list(network.named_parameters())[-1]
    with torch.no_grad():
        parameter.view(-1)[-1] = value
    for place in ("best", "new"):
        with pytest.raises(UsageError, match=f"{weight} is not finite"):
            save_checkpoint(tmp_path / place, network)
    assert (tmp_path / "best" / MODEL).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("about", [{"object": object()}, {"set": {1}}])
def test_facts_that_cannot_be_written_leave_the_old_checkpoint(saved, about):
    """Whatever fails in a save, the old checkpoint stays and nothing lies beside it."""
    with suppress(TypeError, UsageError):
        save_checkpoint(saved, make_policy(), about)
    assert read_config(saved)["about"] == {"step": 7}
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


def test_weights_that_are_not_finite_are_not_loaded(saved):
    """A file that was spoiled elsewhere is refused by the name of the weight."""
    tensors = {name: value.clone() for name, value in load_network(saved).state_dict().items()}
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, saved / MODEL)
    with pytest.raises(UsageError, match=f"{name} is not finite"):
        load_model(saved)


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", [MODEL, CONFIG, TRAINING])
@pytest.mark.parametrize("kind", ["torch.save", "pickle", "old pickle"])
def test_pickles_are_never_run(saved, tmp_path, name, kind):
    """A pickle under any name is refused, and the code in it does not run."""
    trap = tmp_path / "sprung"
    if kind == "torch.save":
        torch.save({"weights": _Trap(trap)}, saved / name)
    else:
        (saved / name).write_bytes(pickle.dumps(_Trap(trap), protocol=0 if kind == "old pickle" else 4))
    with pytest.raises(UsageError, match=str(saved)):
        (load_training if name == TRAINING else load_model)(saved)
    assert not trap.exists()


def test_a_pickle_instead_of_a_folder_is_told(tmp_path):
    """A file from torch.save is called what it is; another file is not a folder either."""
    torch.save({"weights": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(UsageError, match="pickles can run code"):
        load_model(tmp_path / "model.pt")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="name the checkpoint folder"):
        load_model(tmp_path / "notes.txt")


def _config(**changes):
    network = make_policy(preferences=CHOICE)
    config = {"format": checkpoint.FORMAT, **dataclasses.asdict(checkpoint.describe(network))}
    return json.dumps({**config, **changes})


_SPEC = make_policy(preferences=CHOICE).spec
_DAMAGED = {
    "not JSON": "{", "empty": "", "a list": "[]", "a number": "3", "no format": "{}",
    "another format": _config(format=checkpoint.FORMAT + 1), "format in words": _config(format="one"),
    "no model": json.dumps({"format": checkpoint.FORMAT}), "model is a word": _config(model="pixel_policy"),
    "model is a list": _config(model=["pixel_policy"]), "model is nothing": _config(model=None),
    "unknown model": _config(model={**_SPEC, "name": "pixel_polcy"}),
    "unknown argument": _config(model={**_SPEC, "horizons": 3}),
    "wrong argument": _config(model={**_SPEC, "horizon": "six"}),
    "impossible argument": _config(model={**_SPEC, "horizon": 0}),
    "actions are a word": _config(model={**_SPEC, "actions": "curve"}),
    "unknown actions": _config(model={**_SPEC, "actions": {"name": "curv"}}),
    "wrong backbone": _config(model={**_SPEC, "backbone": {**_SPEC["backbone"], "width": "wide"}}),
    "wrong preferences": _config(model={**_SPEC, "preferences": {"exposure_level": [0.2, 0.8]}}),
    "another network": _config(model={**_SPEC, "backbone": {"name": "fcn", "width": 4}}),
}


@pytest.mark.parametrize("damage", _DAMAGED)
def test_damaged_configs_are_named(saved, damage):
    """Whatever is wrong with config.json, the message names the checkpoint."""
    (saved / CONFIG).write_text(_DAMAGED[damage])
    with pytest.raises(UsageError) as caught:
        load_model(saved)
    assert str(saved) in str(caught.value)


@every_model
def test_a_checkpoint_says_what_it_is_for(name, tmp_path):
    """Every network's purpose, scale, channels, mask and preferences can be read without its weights."""
    network = make_model(name)
    info = read_info(save_checkpoint(tmp_path / "best", network, {"step": 3}))
    assert info == read_info(tmp_path) and info.purpose in PURPOSES and info.about == {"step": 3}
    model = load_model(tmp_path)
    for part in ("purpose", "scale", "channels", "needs_mask", "receptive_radius"):
        assert getattr(info, part) == getattr(network, part) == getattr(model, part)
    assert info.preferences == network.preferences.ranges and info.auto_preferences == network.preferences.auto


def test_what_a_checkpoint_is_for_is_read_without_torch():
    """The shipped models are listed by purpose with the standard library alone."""
    code = ("import sys; from rlenhance.hub.shipped import list_models; "
            "print(*[m.name for m in list_models('upscale')], 'torch' in sys.modules, 'numpy' in sys.modules)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["upscale", "upscale-x2", "upscale-x4", "False", "False"]


@pytest.mark.parametrize("field", ["purpose", "scale", "preferences"])
def test_damaged_facts_are_named(saved, field):
    """A field that is missing or nonsense is told with its file."""
    for value in (None, "nonsense"):
        config = {**json.loads((saved / CONFIG).read_text()), field: value}
        (saved / CONFIG).write_text(json.dumps(config))
        with pytest.raises(UsageError, match=str(saved / CONFIG)):
            read_info(saved)


@pytest.mark.parametrize("name", sorted({*load_file(FORMAT_1 / "expected.safetensors")} - {"image", "mask"}))
def test_checkpoints_of_the_first_format_give_their_pictures(name, tmp_path):
    """What rlenhance 0.1 has saved loads, gives what it gave there, and is the same after it was saved anew; arguments
    that are younger have their defaults. A prior that is named is the shipped model as it is now."""
    known = load_file(FORMAT_1 / "expected.safetensors")
    network = load_network(FORMAT_1 / name)
    places = [FORMAT_1 / name, save_checkpoint(tmp_path / "new", network)]
    infos = [dataclasses.replace(read_info(place), receptive_radius=None, about={},
                                 model=json.loads(json.dumps(load_network(place).spec))) for place in places]
    assert infos[0] == infos[1]
    for place in places:
        model = load_model(place)
        image = known["image"] if model.channels == 3 else known["image"][:, :1]
        with torch.inference_mode():
            out = model(image, known["mask"] if model.needs_mask else None)
        assert torch.allclose(out, known[name], atol=1e-5)


@pytest.mark.parametrize("keep", [0, 4, 100, 1000, -1])
@pytest.mark.parametrize("name", [MODEL, TRAINING])
def test_truncated_weights_are_named(saved, name, keep):
    """A file that was cut off is refused by its path."""
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: min(keep, len(data) - 1)] if keep >= 0 else data[:keep])
    with pytest.raises(UsageError, match=str(saved / name)):
        (load_training if name == TRAINING else load_model)(saved)


def test_weights_of_another_network_are_refused(saved, tmp_path):
    """Weights that do not belong to the config are refused."""
    other = save_checkpoint(tmp_path / "other", make_model("restorer"))
    shutil.copy(other / MODEL, saved / MODEL)
    with pytest.raises(UsageError, match="do not fit together"):
        load_model(saved)


def test_no_checkpoint_is_told(tmp_path):
    """Where there is none, the text says what was looked for and where."""
    for place, text in ((tmp_path, MODEL), (tmp_path / "nowhere", "no such run, and no shipped model")):
        with pytest.raises(UsageError, match=text) as caught:
            load_model(place)
        assert str(place) in str(caught.value)


def test_a_run_gives_its_best(saved):
    """Of a run folder the best checkpoint is taken, else the last."""
    shutil.copytree(saved, saved.parent / "last")
    assert find_checkpoint(saved.parent) == saved
    assert find_checkpoint(saved.parent / "last") == saved.parent / "last"
    shutil.rmtree(saved)
    assert find_checkpoint(saved.parent) == saved.parent / "last"


def test_a_checkpoint_is_found_from_within(saved, monkeypatch, image):
    """A checkpoint may be named as the folder one stands in."""
    expected = load_model(saved)(image)
    monkeypatch.chdir(saved)
    assert torch.equal(load_model(".")(image), expected)
    monkeypatch.chdir(saved.parent)
    assert torch.equal(load_model(".")(image), expected)


def test_a_kill_between_the_renames_loses_nothing(saved, monkeypatch):
    """Killed after the old folder was moved and before the new one came, the old one is found; the next save heals."""
    rename, calls = os.replace, []

    def killed(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, make_policy(), {"step": 8})
    monkeypatch.undo()
    for place in (saved, saved.parent):
        assert read_config(find_checkpoint(place))["about"]["step"] in (7, 8)
    save_checkpoint(saved, make_policy(), {"step": 9})
    assert read_config(find_checkpoint(saved))["about"] == {"step": 9}
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


def test_an_old_folder_stands_in_for_a_missing_one(saved):
    """What a killed save left behind is found under the name that was asked for, and from the run."""
    saved.rename(saved.with_name("best.old"))
    assert find_checkpoint(saved) == find_checkpoint(saved.parent) == saved.with_name("best.old")


@pytest.mark.parametrize("name", list(MODELS))
def test_steps_are_for_policies(name, tmp_path, image):
    """A policy may be stopped early; what acts in one pass says that it cannot."""
    network = stir(make_model(name))
    save_checkpoint(tmp_path / "best", network)
    if isinstance(network, Policy):
        begun = use(load_model(tmp_path / "best", steps=0), image)
        if network.purpose == "completion":  # the prior's picture, in which nothing was done
            hole = torch.zeros_like(image[:, :1])
            hole[..., 2:7, 3:8] = 1
            assert torch.equal(begun, network.prefill(image, hole))
        else:
            assert torch.equal(begun, image)
    else:
        with pytest.raises(UsageError, match="steps are for policies"):
            load_model(tmp_path / "best", steps=1)


_TENSORS = st.sampled_from([torch.zeros(()), torch.ones(0, 2), torch.arange(3), torch.rand(2, 2).t(),
                            torch.tensor([True]), torch.ones(1, dtype=torch.float64)])
_LEAVES = _TENSORS | st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3)
_KEYS = st.text("ab/0.", max_size=3) | st.integers(0, 2)
_NESTS = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
                      max_leaves=8)


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


@settings(deadline=None, max_examples=200)
@given(_NESTS)
@example({"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}})
@example({0: torch.zeros(1), "0": torch.ones(1)})
def test_any_nest_survives(value):
    """A nest of mappings, lists, tensors and plain values comes back as it was, its outline through JSON."""
    tensors, outline = flatten(value)
    assert _same(restore(tensors, json.loads(json.dumps(outline))), value)


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), _NESTS, max_size=3))
def test_training_state_survives_the_disk(tmp_path_factory, value):
    """What a run resumes from comes back from the disk as it was."""
    place = tmp_path_factory.mktemp("run") / "last"
    assert _same(load_training(save_checkpoint(place, torch_network(), training=value)), value)


def torch_network():
    """The smallest network that can be saved."""
    return make_model("restorer", backbone={"name": "compact", "width": 2, "stride": 2, "dilations": (1,)})


def test_a_checkpoint_without_training_state_says_so(tmp_path):
    """Weights alone cannot be resumed; the way out is named."""
    with pytest.raises(UsageError, match="--init"):
        load_training(save_checkpoint(tmp_path / "best", torch_network()))


def test_training_state_of_another_writer_is_refused(saved):
    """A safetensors file that holds no outline is damaged, and named."""
    save_file({"a": torch.ones(2)}, saved / TRAINING)
    with pytest.raises(UsageError, match=TRAINING):
        load_training(saved)


def test_training_states_of_the_first_format_take_the_names_of_today(saved):
    """Scopes and weights are renamed wherever they stand in the nest; numbers stay."""
    state = {"entropy": {"picture": 0.5, "local": 0.25}, "critic": {"heads.picture.0.weight": torch.ones(2)},
             "steps": [{"log_std_picture": 1, "backbone.enter.bias": 2}]}
    save_checkpoint(saved, make_policy(), training=state)
    (saved / CONFIG).write_text(json.dumps({"format": 1, "model": make_policy().spec, "about": {}}))
    state = load_training(saved)
    assert state["entropy"] == {"global": 0.5, "local": 0.25} and list(state["critic"]) == ["heads.global.0.weight"]
    assert state["steps"] == [{"log_std_global": 1, "backbone.stem.bias": 2}]
