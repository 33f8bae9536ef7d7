"""Which model and device a command takes, settled by names and descriptions: nothing that computes is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped
from rlenhance.hub.info import ModelInfo, find_checkpoint, read_info

#: The command of each purpose, which is also the verb.
COMMANDS: Mapping[Purpose, str] = {"enhance": "enhance", "denoise": "denoise", "completion": "complete",
                                   "upscale": "upscale", "restore": "restore"}
_RUNS = Path("runs/lol")


def find_model(model: Path | str, purpose: Purpose) -> tuple[Path, ModelInfo]:
    """The checkpoint of a model and its info.

    Args:
        model: name of a shipped model, a run folder, or a checkpoint in it.
        purpose: the one it must have.

    Raises:
        UsageError: there is none; or it has another purpose, whose command is named.
    """
    folder = find_checkpoint(shipped.locate(model))
    info = read_info(folder)
    if info.purpose != purpose:
        other, own = COMMANDS[info.purpose], COMMANDS[purpose]
        kind = f"{other} (its scale is 1)" if purpose == "upscale" else other
        more = f", or rlenhance enhance --denoiser {model} behind another" if info.purpose == "denoise" else ""
        raise UsageError(f"{model}: a model to {kind}, not to {own}: rlenhance {other} is the command for it{more}; "
                         f"leave out the model, or name one to {own}")
    return folder, info


def resolve_model(model: Path | str | None) -> Path | str:
    """The named model; else the shipped default; else the newest run of low-light enhancement.

    Raises:
        UsageError: none is named, shipped or trained.
    """
    model = shipped.default_model() if model is None else model
    if model is not None:
        return model
    found = sorted(_RUNS.glob("*/best/config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"no trained model in {_RUNS}: train one with python -m rlenhance.experiments.lol_train (five "
                         f"minutes), or name one, as in RUN/best")
    return found[-1].parent


def check_device(name: str) -> str:
    """The name of a device, checked; the device that "auto" stands for is printed.

    Raises:
        UsageError: it is not available; the message names those that are.
    """
    from rlenhance.core.devices import AUTO, resolve_device

    device = str(resolve_device(name))
    if name == AUTO:
        print(f"device: {device}")
    return name
