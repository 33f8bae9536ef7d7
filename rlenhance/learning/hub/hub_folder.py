"""A model as a folder that model hubs take: README.md with a card in YAML, config.json, safetensors, ONNX, scores."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError, one_line
from rlenhance.engine import networks
from rlenhance.engine.onnx_file import read_facts
from rlenhance.hub.info import CONFIG, FORMAT, MODEL, ModelInfo, file_digest, find_checkpoint, read_config, read_info
from rlenhance.hub.shipped import CALLS, CARD, FOLDER, README, card_text, locate
from rlenhance.io.files import remove_leftovers, write_bytes
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.hub.onnx import export_model
from rlenhance.learning.models.base import FeedForwardModel
from rlenhance.pipelines.preference_text import describe_preferences

GRAPH, SCORES = "model.onnx", "metrics.json"
_FILES = frozenset((README, GRAPH, SCORES, CONFIG, MODEL))
_EXPORTS = (".export.onnx", ".int8.onnx")  # endings of what `rlenhance.engine` computes with, and of 0.2's in 8 bits
_TAGS = {"enhance": "low-light-enhancement", "denoise": "denoising", "completion": "inpainting",
         "upscale": "super-resolution", "restore": "image-restoration",
         "bracket": "exposure-bracketing"}


@dataclass(frozen=True)
class HubFolder:
    """What was written.

    Attributes:
        path: the folder.
        files: their names.
        without_graph: why there is no ONNX graph; "" where there is one.
    """

    path: Path
    files: tuple[str, ...]
    without_graph: str


def write_hub_folder(model: Path | str, folder: Path, *, name: str = "", card: Path | None = None, license: str = "",
                     overwrite: bool = False) -> HubFolder:
    """Write a model as a folder that `load_model`, the commands and model hubs take.

    Args:
        model: name of a shipped model, a checkpoint, or a run (its best checkpoint).
        folder: is made. Where it exists, it must be empty, or with `overwrite` hold nothing but such a model and hidden
            files, as the clone of a hub's repository does; the hidden files stay.
        name: of the model in its card; "": that of the folder.
        card: text in Markdown that the card ends with; None: that of a shipped model, or none.
        license: of the weights, as hubs name it ("mit", "apache-2.0"); "": that of a shipped model, or none.
        overwrite: replace a model that is there.

    Raises:
        UsageError: see `find_checkpoint`; the weights are damaged; the folder holds other files; the model names a
            prior by its path on this machine.
    """
    source = find_checkpoint(locate(model))
    _check_free(folder, overwrite)
    network = load_network(source)
    _check_prior(network.spec)
    shipped = source.resolve().parent == FOLDER.resolve()
    text = card or (source / CARD if shipped else None)
    about = "" if text is None else card_text(text)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.absolute().parent)
    beside = folder.absolute().with_name(f".rlenhance-{secrets.token_hex(8)}.part")
    beside.mkdir()
    try:
        beside.chmod(0o755)
        config = read_config(source)
        config.pop("digests", None)
        if json.loads((source / CONFIG).read_text())["format"] == FORMAT:
            shutil.copyfile(source / MODEL, beside / MODEL)  # 16 bits stay 16 bits
        else:
            save_checkpoint(beside / "new", network, config.get("about"))
            config = read_config(beside / "new")
            os.replace(beside / "new" / MODEL, beside / MODEL)
            shutil.rmtree(beside / "new")
        info = read_info(source)
        without = _write_graph(source, network, info, beside / GRAPH)
        _copy_exports(source, network.spec["name"], beside)
        scores = dict(_scores(info.about))
        if scores:
            _write_json(beside / SCORES, {"step": info.about.get("step"), "scores": scores})
        _write_json(beside / CONFIG, {**config, "digests": {MODEL: file_digest(beside / MODEL)}})
        named = {key: value for key, value in scores.items() if key.startswith("val/") and key.count("/") == 1}
        readme = make_card(name or folder.absolute().name, info, named, _without_title(about),
                           license or ("mit" if shipped else ""), graph=not without)
        write_bytes(readme.encode(), beside / README)
        files = tuple(sorted(path.name for path in beside.iterdir()))
        _move(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return HubFolder(folder, files, without)


def make_card(name: str, info: ModelInfo, scores: Mapping[str, float], text: str = "", license: str = "",
              graph: bool = False) -> str:
    """README.md: YAML between two lines of hyphens, how the model is used, its scores, and a text.

    Args:
        name: of the model; any text.
        info: its description.
        scores: name -> value, of its validation pictures.
        text: in Markdown.
        license: as hubs name it; "": left out.
        graph: there is an ONNX file.
    """
    lines = ["---", *([f"license: {yaml_text(license)}"] if license else []), "library_name: rlenhance",
             "pipeline_tag: image-to-image", "tags:",
             *(f"- {tag}" for tag in ("rlenhance", "reinforcement-learning", _TAGS[info.purpose],
                                      *(["onnx"] if graph else [])))]
    if scores:
        lines += ["model-index:", f"- name: {yaml_text(name)}", "  results:", "  - task:",
                  "      type: image-to-image", "    dataset:", "      name: validation pictures of its training",
                  "      type: validation", "    metrics:"]
        for key, value in scores.items():
            lines += [f"    - type: {yaml_text(key.removeprefix('val/'))}", f"      value: {value:.6g}"]
    command = CALLS[info.purpose]
    python = ["", "```python", "from rlenhance import load_model", "",
              'model = load_model("FOLDER")  # image (N, C, H, W) in [0, 1] -> the same', "```"]
    lines += ["---", "", f"# {one_line(name)}", "", *([text.partition("\n\n")[0], ""] if text else []), "## Use", "",
              "Download this folder, and name it:", "", "```bash", "pip install .  # in a clone of rlenhance",
              f"rlenhance {command} photo.jpg{' --mask mask.png' if info.needs_mask else ''} --model ./FOLDER", "```",
              *(python if info.purpose != "bracket" else []), "",
              f"Purpose: {info.purpose}; scale {info.scale}; {'grey' if info.channels == 1 else 'RGB'} pictures; "
              f"{describe_preferences(info.effective_preferences, info.auto_preferences, flags=True)}."]
    if info.plugins:
        lines += ["", f"It has parts of the plugin {', '.join(sorted(info.plugins))}: load it with --plugin first."]
    if scores:
        lines += ["", "## Scores on the validation pictures of its training", "", "| score | value |", "|---|---|",
                  *(f"| `{key}` | {value:.6g} |" for key, value in scores.items())]
    rest = text.partition("\n\n")[2].strip()
    return "\n".join([*lines, *(["", rest] if rest else []), ""])


def yaml_text(text: str) -> str:
    """A text as a YAML scalar in quotes, whatever it holds.

    Example:
        >>> yaml_text('a: "b"')
        '"a: \\\\"b\\\\""'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in escaped) + '"'


def _check_free(folder: Path, overwrite: bool) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder}: is no folder; name another one")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    others = [name for name in held if not (_is_own(name) or name.startswith("."))]
    if others:
        raise UsageError(f"{folder}: holds other files ({', '.join(others)[:100]}), which are not replaced; name a new "
                         f"folder")
    if held and not overwrite:
        raise UsageError(f"{folder}: holds files; replace the model in it (overwrite), or name a new folder")


def _check_prior(part: Any) -> None:
    """Refuse a prior that lies elsewhere on this machine."""
    prior = part.get("prior")
    if isinstance(prior, str) and (Path(prior).exists() or "/" in prior or "\\" in prior):
        raise UsageError(f"the model names its prior by a path, {prior!r:.200}, which no other machine has; train it "
                         f"with the name of a shipped model as prior")


def _scores(about: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in (about.get("scores") or about.get("best") or {}).items():
        if type(value) in (int, float):
            yield str(name), value


def _write_graph(source: Path, network: Any, info: ModelInfo, path: Path) -> str:
    """Write the ONNX graph; returns why there is none, or ""."""
    if not isinstance(network, FeedForwardModel) and info.purpose != "enhance":
        return f"a policy for {info.purpose} has no graph"
    try:
        export_model(source, path)
    except UsageError as error:
        return str(error)
    return ""


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_bytes(f"{json.dumps(value, indent=2)}\n".encode(), path)


def _without_title(text: str) -> str:
    """A card without its own YAML and its title."""
    body = text.split("\n---\n", 1)[-1] if text.startswith("---\n") else text
    lines = body.strip().splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()


def _move(beside: Path, folder: Path) -> None:
    """Put the files where they belong; hidden files that are there stay."""
    if not folder.exists():
        os.replace(beside, folder)
        return
    for name in {path.name for path in (*beside.iterdir(), *folder.iterdir()) if _is_own(path.name)}:
        if (beside / name).exists():
            os.replace(beside / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _is_own(name: str) -> bool:
    """Whether a file is one of those that are written."""
    return name in _FILES or name.endswith(_EXPORTS)


def _copy_exports(source: Path, model: str, folder: Path) -> None:
    """Copy the graphs without weights, with which a model needs no torch, where the checkpoint has them."""
    exported = networks.network_class(model)
    for part in () if exported is None else exported.parts:
        path = networks.export_path(source, part)
        with suppress(UsageError):  # none there, or the whole graph of such a folder
            read_facts(path)
            shutil.copyfile(path, folder / networks.BESIDE.format(part=part))
