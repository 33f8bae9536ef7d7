"""`rlenhance taste`: versions of photographs are shown, the better one is picked, and a look is learned."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import add_written_file, refuse_stranger, refuse_written
from rlenhance.core.errors import UsageError, printable

if TYPE_CHECKING:
    from rlenhance.looks.taste import TasteSession
    from rlenhance.looks.taste_model import Answer

_LETTERS = "abcdefghi"
_PHOTOS = 8  # in the questions; of more, as many are taken, evenly spread
_WORDS: dict[str, Any] = {"n": "neither", "s": "skip", "=": "alike"}


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    taste = commands.add_parser(
        "taste", help="learn your own look from a few choices",
        description="Show versions of your photographs beside each other, ask which one you like best, and learn a "
                    "look from the answers: 8 to 12 picks on three to eight photographs. After each answer the state "
                    "is saved beside the look (my-look.taste.json), so that nothing is lost; --resume goes on. "
                    "`rlenhance enhance --look` uses the result.")
    taste.add_argument("photos", nargs="+", metavar="PHOTO|DIR", help="photographs, folders of them, patterns")
    add_written_file(taste, "-o", "--output", kind="look", required=True, metavar="LOOK.json",
                     help="write the look there")
    taste.add_argument("-m", "--model", metavar="NAME|RUN/best", help="the policy (default: as for enhance)")
    taste.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    taste.add_argument("--options", type=int, default=4, metavar="N",
                       help="versions per question, 2 to 9 (default: 4; a pick of two informs less)")
    taste.add_argument("--picks", type=int, default=12, metavar="N", help="stop after N picks (default: 12)")
    existing = taste.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the saved state of this look")
    existing.add_argument("--overwrite", action="store_true", help="begin anew, and replace the look and its state")
    add_written_file(taste, "--sheet", kind="sheet", metavar="FILE.png",
                       help="write the versions of each question there (default: in a temporary folder)")
    taste.add_argument("--no-open", action="store_true", help="only write the sheets, open no window")
    taste.add_argument("--size", type=int, default=640, metavar="PIXELS",
                       help="longer side of each version on the sheet (default: 640)")
    taste.add_argument("--seed", type=int, default=0, metavar="N", help="of the questions (default: 0)")
    taste.add_argument("--simulate", action="store_true",
                       help="for a demonstration: a simulated person with a hidden taste, by --seed, answers")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and save the look."""
    paths, state = _checked(arguments)
    session = _session(arguments, paths, state)
    answer_of: Callable[[TasteSession], Answer | str]
    if arguments.simulate:
        answer_of = _simulated(session, arguments.seed)
    else:
        print("Which version do you like best? Its letter; n none of them, = all alike, s another question, u back, "
              "q save and stop.")
        answer_of = _typed
    with _sheet_place(arguments.sheet) as sheet:
        try:
            _ask(session, arguments, answer_of, sheet, state)
        except KeyboardInterrupt:
            print(f"\n{len(session.picks)} answers are kept in {printable(state)}: --resume goes on", file=sys.stderr)
            raise
    if not session.answered:
        print("nothing was picked, so there is no look yet")
        return 0
    from rlenhance.pipelines.looks import save_look

    print(f"{session.words}\nlook -> {printable(save_look(session.look(), arguments.output))}\n"
          f"rlenhance enhance PHOTO --look {printable(arguments.output)} uses it; rlenhance taste --resume refines it")
    return 0


def _checked(arguments: argparse.Namespace) -> tuple[list[Path], Path]:
    """The photographs, and the place of the state; what cannot work is refused before a model is loaded."""
    from rlenhance.io import STDIO
    from rlenhance.io.discovery import find_photos

    if not 2 <= arguments.options <= len(_LETTERS):
        raise UsageError(f"--options must lie between 2 and {len(_LETTERS)}; got {arguments.options}")
    if arguments.picks < 1:
        raise UsageError(f"--picks must be at least 1; got {arguments.picks}")
    if not 64 <= arguments.size <= 2048:
        raise UsageError(f"--size must lie between 64 and 2048 pixels; got {arguments.size}")
    if not arguments.simulate and not sys.stdin.isatty():
        raise UsageError("rlenhance taste asks questions, and standard input is no terminal: run it in one, use the "
                         "page (rlenhance demo), or --simulate for a demonstration")
    if arguments.output.suffix.lower() != ".json":
        raise UsageError(f"{arguments.output}: a look is a .json file; name one, as in -o my-look.json")
    paths = [found.path for found in find_photos(arguments.photos)]
    if STDIO in paths:
        raise UsageError("-: photographs are read from files here")
    state = arguments.output.with_name(f"{arguments.output.stem}.taste.json")
    if arguments.resume and not state.exists():
        raise UsageError(f"{state}: there is no state to go on with; leave out --resume to begin")
    if state.exists() and not (arguments.resume or arguments.overwrite):
        raise UsageError(f"{state}: a dialogue was begun; --resume goes on with it, --overwrite begins anew")
    refuse_stranger(state, "dialogue", "-o", arguments.overwrite or arguments.resume)
    refuse_written(paths, arguments)
    if arguments.output.exists():
        from rlenhance.pipelines.looks import load_look

        load_look(arguments.output)  # nothing but a look is replaced
    if len(paths) > _PHOTOS:
        print(f"note: {_PHOTOS} of {len(paths)} photographs are taken, evenly spread", file=sys.stderr)
        paths = [paths[i * len(paths) // _PHOTOS] for i in range(_PHOTOS)]
    return paths, state


def _session(arguments: argparse.Namespace, paths: list[Path], state: Path) -> TasteSession:
    from rlenhance.cli.compare import apart
    from rlenhance.core.machine import check_device
    from rlenhance.hub.shipped import resolve_model
    from rlenhance.io import read
    from rlenhance.io.contact_sheet import downscale
    from rlenhance.looks.taste import SIDE, TasteSession, resume
    from rlenhance.pipelines.enhance import Enhancer

    photos = {name: downscale(read(path).visible_pixels, SIDE) for name, path in zip(apart(paths), paths, strict=True)}
    enhancer = Enhancer(resolve_model(arguments.model), device=check_device(arguments.device))
    if not arguments.resume:
        return TasteSession(enhancer, photos, options=arguments.options, seed=arguments.seed)
    session = resume(state.read_bytes(), state, enhancer, photos)
    print(f"going on after {len(session.picks)} answers")
    return session


def _ask(session: TasteSession, arguments: argparse.Namespace, answer_of: Callable[[TasteSession], Answer | str],
         sheet: Path, state: Path) -> None:
    """Questions until there are enough picks or the person stops; the state is written after each answer."""
    from rlenhance.io.contact_sheet import Cell, make_sheet
    from rlenhance.io.files import write_bytes
    from rlenhance.io.own_files import write_sheet

    shown = None
    while session.answered < arguments.picks and not (arguments.simulate and session.enough):
        question = session.question()
        if question is not shown:
            cells = [Cell(picture, (letter,)) for letter, picture in
                     zip(_LETTERS.upper(), session.previews(arguments.size), strict=False)]
            write_sheet(make_sheet(cells, columns=2 if len(cells) in (2, 4) else None, side=arguments.size), sheet)
            print(f"question {question.number}, {printable(question.photo)}: {printable(sheet)}")
            if shown is None and not (arguments.no_open or arguments.simulate):
                _open(sheet)
            shown = question
        answer = answer_of(session)
        if answer == "quit":
            return
        if answer == "undo":
            print("the last answer is taken back" if session.undo() else "there is no answer to take back")
        else:
            session.answer(answer)  # type: ignore[arg-type]
            print(session.words)
        write_bytes(session.to_json().encode(), state)


def _typed(session: TasteSession) -> Answer | str:
    """An answer from the keyboard; the end of input stops."""
    letters = _LETTERS[: session.count]
    while True:
        print(f"{'/'.join(letters)}/n/=/s/u/q? ", end="", flush=True)
        line = sys.stdin.readline()
        word = line.strip().lower()
        if not line or word in ("q", "quit"):
            return "quit"
        if word in ("u", "undo"):
            return "undo"
        if len(word) == 1 and word in letters:
            return letters.index(word)
        if word in _WORDS or word in _WORDS.values():
            return str(_WORDS.get(word, word))
        print(f"a letter of {letters}, or n (none of them), = (all alike), s (skip), u (undo), q (save and stop)")


def _simulated(session: TasteSession, seed: int) -> Callable[[TasteSession], int]:
    """Someone whose ideal point is drawn, and who picks the version that is nearest to it."""
    import numpy as np

    space, rng = session.model.space, np.random.default_rng([seed, 1])
    ideal = space.to_values(rng.uniform(-1.2, 1.2, len(space.names)))
    hidden = ", ".join(f"{name} {value:.2f}" for name, value in zip(space.names, ideal, strict=True))
    print(f"the hidden ideal: {hidden}")

    def nearest(session: TasteSession) -> int:
        gaps = space.to_points(np.array(session.question().values)) - space.to_points(ideal)
        return int(np.argmin(gaps**2 @ space.weights))

    return nearest


@contextmanager
def _sheet_place(named: Path | None) -> Iterator[Path]:
    """Where the sheet goes; a temporary one is deleted at the end."""
    if named is not None:
        yield named
        return
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="rlenhance-taste-"))
    try:
        yield folder / "versions.png"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(path: Path) -> None:
    """Show a picture in the desktop's viewer, where there is one."""
    if sys.platform == "win32":
        os.startfile(path)
        return
    import shutil
    import subprocess

    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    display = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if opener and display:
        subprocess.Popen([opener, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
