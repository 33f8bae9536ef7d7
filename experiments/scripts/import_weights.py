"""Published weights as runs of our own: `python -m experiments.import_weights rellie model.npz -o runs/rellie`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import tyro

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.published_weights import IMPORTERS, epochs_of_log, newest_checkpoint
from rlenhance.experiments.core.run import Run
from rlenhance.hub.shipped import sha256


def main(network: Annotated[str, tyro.conf.Positional], file: Annotated[Path, tyro.conf.Positional],
         out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]) -> Path:
    """Turn a published file of weights into a run folder, which the commands and comparisons take as a model; those
    that fit are printed. Nothing is unpickled that could run code.

    Args:
        network: rellie (ReLLIE's model.npz), ffdnet (its denoiser, net_rgb.pth), zero_dce (Zero-DCE's
            Epoch99.pth), pixelrl (PixelRL's pretrained_15.npz, _25, _50), rl_restore (RL-Restore's policy.npz,
            as plain arrays) or gated_pixelrnn (the completion project's model_epoch190.pth, or its
            checkpoints/: the newest epoch, with the log and the samples).
        file: The published file.
        out: The run folder to make.
    """
    read, settings = IMPORTERS[network], {"network": network, "file": file, "out": out}
    if network == "gated_pixelrnn" and not file.is_file():
        file = newest_checkpoint(file) or file
    if not file.is_file():
        raise UsageError(f"{file}: no such file" + (", and no model_epochN.pth in it" if file.is_dir() else ""))
    if out.exists():
        raise UsageError(f"{out}: exists; choose another folder with -o")
    model = read(file)
    origin = {"imported": network, "file": file.name, "sha256": sha256(file)}
    run = Run.create(out, settings, {"model": model.spec, "origin": origin})
    run.save("best", model, origin)
    if network == "gated_pixelrnn":
        keep_records(file.parent, run.path)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{network}: {count:,} values in {run.path}")
    for use, command in commands_for(network, model.purpose, run.path, file):
        print(f"{use}:\n  {command}")
    return run.path


def keep_records(checkpoints: Path, run: Path) -> None:
    """Keep the log of a project's `checkpoints/` as epochs.tsv, and its samples under the names that samples have."""
    log = checkpoints / "training_log.txt"
    if log.is_file():
        text = log.read_text(errors="replace")
        table = epochs_of_log(text)
        (run / ("epochs.tsv" if table else log.name)).write_text(table or text)
    for sample in sorted((checkpoints / "samples").glob("sample_epoch*.png")):
        (run / "samples").mkdir(exist_ok=True)
        epoch = sample.stem.removeprefix("sample_epoch")
        shutil.copyfile(sample, run / "samples" / f"sample_epoch-{epoch.zfill(6)}.png")


def commands_for(name: str, purpose: Purpose, run: Path, file: Path) -> list[tuple[str, str]]:
    """What a network imported from a file is good for, and the commands: PHOTO, MASK and DIR stand for the user's
    files."""
    enhance, denoise = f"rlenhance enhance PHOTO --model {run}", f"rlenhance denoise PHOTO --model {run}"
    after = ("take out the noise that brightening shows, in one call with any model",
             f"rlenhance enhance PHOTO --denoiser {run}")
    score = ("score it on pairs (low/ and high/)", f"python -m rlenhance.experiments.evaluate {run} --data DIR")
    if name == "rellie":
        return [("enhance without denoising, in its six steps (test_el.py)", enhance),
                ("stop after three of them", f"{enhance} --steps 3"),
                ("enhance with denoising (test.py), once FFDNet is imported",
                 f"{enhance} --denoiser {run.parent / 'ffdnet'}"), score]
    if name == "rl_restore":
        command = f"python -m research.rl_restore_scores {file.parent} --data DIR"
        return [("score it with its tools, which lie beside it, on good pictures that are damaged for it", command),
                ("with two tools at most", f"{command} --steps 2")]
    if name == "pixelrl":
        return [("denoise a photograph, a colour at a time", denoise),
                ("see which filter won where", f"{denoise} --explain CHART.png"),
                ("score it on good pictures, made grey and noisy",
                 f"python -m rlenhance.experiments.denoise_compare --data DIR --models {run}"), after]
    if purpose == "denoise":
        return [("denoise a photograph", denoise), after,
                ("name the noise, in 255ths, where it is known", f"{denoise} --noise 25")]
    if purpose == "completion":
        return [("fill the white of a mask", f"rlenhance complete PHOTO --mask MASK --model {run}"),
                ("find the hole first", f"rlenhance complete PHOTO --auto-mask --model {run}"),
                ("score it on pictures with holes",
                 f"python -m rlenhance.experiments.complete_compare --data DIR --models {run}")]
    return [("enhance a photograph", enhance), score]


if __name__ == "__main__":
    sys.exit(run_cli(main))
