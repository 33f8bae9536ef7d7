"""The trainings of the shipped networks: `make networks` or `python -m research.networks`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rlenhance.hub.shipped import FOLDER

_COMMAND = re.compile(r"^    (python .+)$", re.MULTILINE)
_TIME = re.compile(r"\d+(?:\.\d+)?[ -](?:CPU[ -])?minutes"
                   r"(?:\s+of\s+(?:one|half a|a\s+share\s+of\s+one)\s+CPU\s+thread)?")
_PART = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Training:
    """How a shipped network was trained, as its card says.

    Attributes:
        name: of the model.
        commands: in their order; the last one goes on with a run where it has `--resume`.
        time: each time that the card names.
        seed: of the card.
    """

    name: str
    commands: tuple[str, ...]
    time: tuple[str, ...]
    seed: str


def trainings() -> Iterator[Training]:
    """That of each shipped model, by name."""
    for card in sorted(FOLDER.glob("*/card.md")):
        parts = dict(_PART.findall(card.read_text(encoding="utf-8")))
        times = _TIME.findall(parts["Recipe"]) or _TIME.findall(parts["Command"])
        yield Training(card.parent.name, tuple(_COMMAND.findall(parts["Command"])),
                       tuple(" ".join(time.split()) for time in times), " ".join(parts["Seeds"].split()))


def main() -> int:
    """Print name, time, seed and commands of each."""
    for training in trainings():
        print(f"{training.name}: {', '.join(training.time) or 'time not recorded'}; seed {training.seed}")
        print("".join(f"    {command}\n" for command in training.commands))
    return 0


if __name__ == "__main__":
    sys.exit(main())
