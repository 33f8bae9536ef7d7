"""Engines that read text in pictures, behind one protocol: Tesseract, RapidOCR, and user-defined functions."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from rlenhance.core.errors import UnknownName, UsageError, one_line
from rlenhance.core.installation import install_line
from rlenhance_read.ocr.readings import Reading, Word

PACKAGE = "rlenhance-read"  # the distribution whose extra `ocr` brings engines
#: How an engine looks for text -> Tesseract's number of it: a page with columns, one block of lines, or words anywhere.
LAYOUTS = {"auto": 3, "block": 6, "sparse": 11}
#: Where Tesseract's language files lie, beside the folder in TESSDATA_PREFIX.
_TESSDATA = ("/usr/share/tesseract-ocr/*/tessdata", "/usr/share/tesseract*/tessdata", "/usr/share/tessdata",
             "/usr/local/share/tessdata", "/opt/homebrew/share/tessdata", "/opt/local/share/tessdata")
_SECONDS = 120.0  # that the command may take


def install_hint() -> str:
    """How an engine is installed."""
    return (f"{install_line('ocr', PACKAGE)}, which has the engine rapidocr; or install Tesseract (Debian, Ubuntu: "
            f"apt install tesseract-ocr; macOS: brew install tesseract; Windows: winget install "
            f"tesseract-ocr.tesseract)")


class Engine(Protocol):
    """Reads text.

    Attributes:
        name: by which users know it; caches keep its readings under it.
        version: of the program and its models; other versions have other readings.
    """

    name: str
    version: str

    def read(self, picture: np.ndarray, layout: str = "auto") -> Reading:
        """The words in a picture.

        Args:
            picture: (H, W) or (H, W, 3) uint8, RGB.
            layout: see `LAYOUTS`.
        """


class Tesseract:
    """Tesseract, kept in memory by the package tesserocr where it is installed, or else by its command.

    One read runs on one thread. Both ways give the same readings where they are of the same version.

    Args:
        language: of Tesseract's language files, as "eng" or "deu+eng".

    Raises:
        UsageError: it is not installed, or has no such language; the message says how to install it.

    Source: Smith 2007 (An overview of the Tesseract OCR engine); its LSTM recogniser.
    """

    name = "tesseract"

    def __init__(self, language: str = "eng"):
        self.language = language
        folder = find_language_files(language)
        self._api: Any = None
        if find_spec("tesserocr") is not None:
            import tesserocr

            if folder is None:
                raise UsageError(f"Tesseract has no language file {language}.traineddata: {install_hint()}; or set "
                                 f"TESSDATA_PREFIX to its folder")
            os.environ.setdefault("OMP_THREAD_LIMIT", "1")
            if hasattr(tesserocr, "set_leptonica_log_level"):
                tesserocr.set_leptonica_log_level(tesserocr.LeptLogLevel.NONE)
            self._api = tesserocr.PyTessBaseAPI(path=f"{folder}{os.sep}", lang=language, oem=tesserocr.OEM.LSTM_ONLY)
            self._api.SetVariable("debug_file", os.devnull)
            self.version = f"{one_line(tesserocr.tesseract_version().split()[1])} {language}"
            return
        self._program = shutil.which("tesseract")
        if self._program is None:
            raise UsageError(f"no Tesseract here: {install_hint()}")
        about = subprocess.run([self._program, "--version"], capture_output=True, text=True, timeout=_SECONDS)
        self.version = f"{one_line((about.stdout or about.stderr).split()[1])} {language}"

    def read(self, picture: np.ndarray, layout: str = "auto") -> Reading:
        """See `Engine.read`."""
        mode = LAYOUTS[layout]
        if min(picture.shape[:2]) < 3:
            return Reading()
        return parse_table(self._by_package(picture, mode) if self._api is not None else
                           self._by_command(picture, mode))

    def _by_package(self, picture: np.ndarray, mode: int) -> str:
        from PIL import Image

        self._api.SetPageSegMode(mode)
        self._api.SetImage(Image.fromarray(np.ascontiguousarray(picture)))
        self._api.SetSourceResolution(150)
        table: str = self._api.GetTSVText(0)
        self._api.Clear()
        return table

    def _by_command(self, picture: np.ndarray, mode: int) -> str:
        bgr = picture if picture.ndim == 2 else picture[:, :, ::-1]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes())
            words = [self._program or "tesseract", str(path), "stdout", "-l", self.language, "--oem", "1", "--psm",
                     str(mode), "--dpi", "150", "tsv"]
            ran = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, encoding="utf-8",
                                 errors="replace", env={**os.environ, "OMP_THREAD_LIMIT": "1"})
        if ran.returncode:
            raise UsageError(f"tesseract failed: {one_line(ran.stderr) or ran.returncode}")
        return ran.stdout


def find_language_files(language: str) -> Path | None:
    """The folder with the language files of Tesseract, or None."""
    names = [f"{each}.traineddata" for each in language.split("+")]
    given = os.environ.get("TESSDATA_PREFIX")
    places: list[Path] = [Path(given), Path(given) / "tessdata"] if given else []
    for pattern in _TESSDATA:
        start, _, rest = pattern.partition("*")
        above = Path(start).parent if rest else Path(pattern)
        with suppress(OSError):
            places += sorted(above.glob(pattern[len(str(above)) + 1 :])) if rest else [above]
    return next((place for place in places if all((place / name).is_file() for name in names)), None)


def parse_table(table: str) -> Reading:
    """The reading in Tesseract's table of words, with a heading or without."""
    words: list[Word] = []
    lines: dict[tuple[str, ...], int] = {}
    for row in table.splitlines():
        cells = row.split("\t")
        if len(cells) < 12 or cells[0] != "5" or not cells[11].strip():
            continue
        line = lines.setdefault(tuple(cells[1:5]), len(lines))
        left, top, width, height = map(int, cells[6:10])
        words.append(Word(cells[11].strip(), min(1.0, max(0.0, float(cells[10]) / 100)), (left, top, width, height),
                          line))
    return Reading(tuple(words))


class RapidOCR:
    """RapidOCR: the networks of PaddleOCR that its package has, run by onnxruntime on one thread.

    Raises:
        UsageError: it is not installed.

    Source: PP-OCR (Du et al. 2020).
    """

    name = "rapidocr"

    def __init__(self) -> None:
        missing = [name for name in ("rapidocr", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise UsageError(f"the engine rapidocr needs {' and '.join(missing)}: {install_line('ocr', PACKAGE)}")
        import rapidocr

        self.version = str(getattr(rapidocr, "__version__", ""))
        self._run = rapidocr.RapidOCR(params={
            "Global.log_level": "critical", "Global.text_score": 0.0, "Global.use_cls": False,
            "Det.limit_type": "max", "Det.limit_side_len": 1600,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1, "EngineConfig.onnxruntime.inter_op_num_threads": 1})

    def read(self, picture: np.ndarray, layout: str = "auto") -> Reading:
        """See `Engine.read`; it always looks for lines, and returns each as a word."""
        if min(picture.shape[:2]) < 3:
            return Reading()
        color = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture[:, :, ::-1]
        result: Any = self._run(np.ascontiguousarray(color))
        if result is None or getattr(result, "boxes", None) is None or result.txts is None:
            return Reading()
        found = []
        for text, score, corners in zip(result.txts, result.scores, result.boxes, strict=True):
            left, top = np.floor(np.min(corners, axis=0)).astype(int)
            right, bottom = np.ceil(np.max(corners, axis=0)).astype(int)
            if str(text).strip():
                found.append(Word(str(text).strip(), float(score), (int(left), int(top), int(right - left),
                                                                     int(bottom - top))))
        return in_lines(found)


def in_lines(words: Iterable[Word]) -> Reading:
    """Words from anywhere in the picture, by line and from the left; a line is what overlaps by half its height."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.box[1] + word.box[3] / 2):
        middle = word.box[1] + word.box[3] / 2
        last = rows[-1][-1].box if rows else None
        if last is not None and middle - (last[1] + last[3] / 2) < min(word.box[3], last[3]) / 2:
            rows[-1].append(word)
        else:
            rows.append([word])
    return Reading(tuple(Word(word.text, word.confidence, word.box, number) for number, row in enumerate(rows)
                         for word in sorted(row, key=lambda word: word.box[0])))


class FunctionEngine:
    """An engine from a user-defined function.

    Args:
        function: (H, W) or (H, W, 3) uint8 -> the text, its confidence in [0, 1].
        name: see `Engine`.

    Example:
        >>> FunctionEngine(lambda picture: ("two words", 0.5)).read(np.zeros((8, 8), np.uint8)).confidence
        0.5
    """

    version = ""

    def __init__(self, function: Callable[[np.ndarray], tuple[str, float]], name: str = "own"):
        self.name, self._function = name, function

    def read(self, picture: np.ndarray, layout: str = "auto") -> Reading:
        """See `Engine.read`."""
        text, confidence = self._function(picture)
        height, width = picture.shape[:2]
        lines = [line.split() for line in text.splitlines()]
        return Reading(tuple(Word(word, float(confidence), (0, 0, width, height), number)
                             for number, line in enumerate(lines) for word in line))


#: Engines by the names that users give.
ENGINES: dict[str, Callable[[], Engine]] = {"tesseract": Tesseract, "rapidocr": RapidOCR}


@cache
def engine_of(name: str) -> Engine:
    """The engine of a name, made once in a process.

    Raises:
        UnknownName: there is none.
        UsageError: it is not installed.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    return ENGINES[name]()


def default_engine(first: str = "rapidocr") -> Engine:
    """RapidOCR where it is installed, which reads dark photographs better (docs/results/read.md), or else Tesseract.

    Args:
        first: the engine that is taken where both are there.

    Raises:
        UsageError: neither is installed; the message says how to install one.
    """
    second = next(name for name in ("tesseract", "rapidocr") if name != first)
    try:
        return engine_of(first)
    except UsageError:
        with suppress(UsageError):
            return engine_of(second)
        raise UsageError(f"no engine that reads text: {install_hint()}") from None
