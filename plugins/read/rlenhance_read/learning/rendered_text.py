"""Rendered scenes with text, photographed by a simulated camera in bad light: endless, and the same for the same seed.

    scenes = RenderedText("train", fonts=find_fonts())
    scene = scenes[0]  # a picture (96, 480, 3) uint8, the text in it, and how it was made
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import srgb_from_linear
from rlenhance.learning.data.sampler import rng_of
from rlenhance.learning.data.simulated_camera import CameraSettings, SimulatedCamera
from rlenhance_read.learning.rendered_words import SHARES, split_of, words_of

#: How text is laid out, with the share of the scenes that are so.
LAYOUTS = {"line": 0.4, "paragraph": 0.15, "receipt": 0.15, "sign": 0.15, "plate": 0.15}
#: Height and width of a scene in pixels.
SIZE = (96, 480)
#: Cameras of each split; none is in two.
CAMERAS = {"train": 60, "val": 10, "test": 30}
_TWICE = 2  # scenes are drawn at twice the size, and the camera reduces them
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/Library/Fonts",
            "/System/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts")
_NEEDED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:-/$%!"


@dataclass(frozen=True)
class Font:
    """A font file.

    Attributes:
        family: splits are by families.
        path: of the file.
    """

    family: str
    path: Path


@dataclass(frozen=True)
class Line:
    """A line of text in a scene.

    Attributes:
        text: what is written there.
        corners: (4, 2) float32, x and y in pixels of the picture: of the box around the line, from the upper left one
            clockwise as the text is read.
    """

    text: str
    corners: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A photograph of a text, and what is in it.

    Attributes:
        picture: (96, 480, 3) uint8, RGB.
        text: the text; lines end with a line feed.
        facts: how it was made: layout, font, camera, and the strength of each damage.
        name: identifies it, for caches.
        lines: where the lines of the text are.
    """

    picture: np.ndarray
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    lines: tuple[Line, ...] = ()


@cache
def find_fonts() -> tuple[Font, ...]:
    """Fonts of this system with all Latin letters and figures, in order, and those that come with matplotlib."""
    return _fonts_in([*(Path(folder).expanduser() for folder in _FOLDERS), *_bundled()])


@cache
def bundled_fonts() -> tuple[Font, ...]:
    """The fonts that come with matplotlib: the same everywhere, few."""
    return _fonts_in(_bundled())


def _bundled() -> list[Path]:
    library = find_spec("matplotlib")
    return [Path(library.origin).parent / "mpl-data" / "fonts" / "ttf"] if library and library.origin else []


def _fonts_in(places: Sequence[Path]) -> tuple[Font, ...]:
    found: dict[str, Font] = {}
    for place in places:
        for folder, _, names in os.walk(place):
            for name in sorted(names):
                if name.lower().endswith((".ttf", ".otf")) and name not in found:
                    family = _family(Path(folder) / name)
                    if family:
                        found[name] = Font(family, Path(folder) / name)
    return tuple(found[name] for name in sorted(found))


def _family(path: Path) -> str:
    """The family of a font that can be used, or ""."""
    try:
        font = ImageFont.truetype(str(path), 16)
        family, style = font.getname()
        missing = bytes(font.getmask("\uffff"))
        if bytes(font.getmask("A")) in (missing, bytes(font.getmask("a"))):
            return ""
        shapes = [bytes(font.getmask(letter)) for letter in _NEEDED]
    except (OSError, ValueError):
        return ""
    known = str(family or "").split(",")[0]
    words = f"{known} {style}".lower()
    odd = any(word in words for word in ("symbol", "initial", "keyboard", "emoji", "ornament", "dingbat", "stix",
                                         "math", "thin", "hairline", "humor", "cmex", "cmsy", "cmmi", "music"))
    return "" if odd or len(set(shapes)) < len(_NEEDED) - 3 or missing in shapes else known


def fonts_of(split: str, fonts: Sequence[Font]) -> dict[str, list[Font]]:
    """The fonts of a split by family; those of matplotlib where it would have none."""
    families: dict[str, list[Font]] = {}
    for font in fonts:
        families.setdefault(font.family, []).append(font)
    return {family: files for family, files in sorted(families.items()) if split_of(family) == split} or families


@dataclass(frozen=True)
class BadLight:
    """What is done to a scene beside its camera; numbers are ranges, drawn from evenly, or log-uniformly where marked.

    Attributes:
        exposure: light at the brightest place, log-uniform.
        falloff: share of the light that is lost from the brightest place to the darkest, of a lamp at one side.
        shadow_prob: of the soft shadow of something, which takes 40 to 85 % of the light.
        shot: variance of the noise per light, log-uniform.
        blur_prob, blur: of a lens out of focus, deviation in pixels.
        motion_prob, motion: of a hand that moves, in pixels.
        jpeg_prob, quality: of strong JPEG; otherwise the camera's own.
        turn: degrees, to both sides.
        tilt: share of the height by which the corners move.
        contrast: of the ink on its paper, in light.
        inverted_prob: of light text on a dark ground (signs and plates: twice as often).
    """

    exposure: tuple[float, float] = (0.025, 0.4)
    falloff: tuple[float, float] = (0.2, 0.95)
    shadow_prob: float = 0.4
    shot: tuple[float, float] = (3e-5, 3e-3)
    blur_prob: float = 0.3
    blur: tuple[float, float] = (0.6, 1.6)
    motion_prob: float = 0.2
    motion: tuple[float, float] = (2.0, 4.0)
    jpeg_prob: float = 0.5
    quality: tuple[float, float] = (20.0, 60.0)
    turn: float = 4.0
    tilt: float = 0.06
    contrast: tuple[float, float] = (0.3, 0.95)
    inverted_prob: float = 0.25


@dataclass(frozen=True)
class RenderedText:
    """An endless row of scenes; number i is the same at every call, on machines with the same fonts.

    Texts, font families and cameras of a split are in no other one.

    Args:
        split: train, val or test.
        fonts: see `find_fonts`.
        light: what is done to the pictures.
        seed: of the row.

    Raises:
        UsageError: another split, or no font.
    """

    split: str
    fonts: tuple[Font, ...]
    light: BadLight = BadLight()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in SHARES:
            raise UsageError(f"split is {', '.join(SHARES)}; got {self.split!r:.40}")
        if not self.fonts:
            raise UsageError("no font with Latin letters was found: install some (Debian: fonts-dejavu), or give fonts")

    @cached_property
    def families(self) -> dict[str, list[Font]]:
        """The fonts of this split, by family."""
        return fonts_of(self.split, self.fonts)

    @cached_property
    def cameras(self) -> list[CameraSettings]:
        """The cameras of this split."""
        first = sum(count for split, count in CAMERAS.items() if [*CAMERAS].index(split) < [*CAMERAS].index(self.split))
        return [SimulatedCamera().draw(rng_of(1_000_003, first + number)) for number in range(CAMERAS[self.split])]

    @cached_property
    def digest(self) -> str:
        """Of everything that scenes depend on but their number."""
        files = [(family, [font.path.name for font in fonts]) for family, fonts in self.families.items()]
        facts = (1, self.split, files, self.light, self.seed, words_of(self.split))
        return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()

    def __getitem__(self, number: int) -> Scene:
        """Scene `number`, from 0 on."""
        rng = rng_of(self.seed + 7919 * [*SHARES].index(self.split), number)
        layout = str(rng.choice([*LAYOUTS], p=[*LAYOUTS.values()]))
        text = draw_text(layout, words_of(self.split), rng)
        family = [*self.families][rng.integers(len(self.families))]
        font = self.families[family][rng.integers(len(self.families[family]))]
        ink, boxes = draw_ink(text, layout, font, rng)
        place = int(rng.integers(len(self.cameras)))
        picture, facts, warp = photograph(ink, self.cameras[place], self.light, layout, rng)
        lines = tuple(Line(line, _seen(box, warp)) for line, box in zip(text.split("\n"), boxes, strict=True))
        return Scene(picture, text, {"layout": layout, "font": font.path.stem, "family": family, "camera": place,
                                     **facts}, f"{self.digest}/{number}", lines)


def draw_text(layout: str, words: Sequence[str], rng: np.random.Generator) -> str:
    """A text of a layout."""
    def some(count: int) -> list[str]:
        return [words[place] for place in rng.integers(len(words), size=count)]

    def number() -> str:
        forms = (f"{rng.integers(1, 999)}.{rng.integers(100):02}", f"{rng.integers(10, 99999)}",
                 f"{rng.integers(1, 29):02}/{rng.integers(1, 13):02}/{rng.integers(1990, 2030)}",
                 f"{rng.integers(24):02}:{rng.integers(60):02}", f"${rng.integers(1, 500)}.{rng.integers(100):02}",
                 f"{rng.integers(1, 100)}%", f"{rng.integers(100, 999)}-{rng.integers(1000, 9999)}")
        return forms[rng.integers(len(forms))]

    if layout == "plate":
        letters = "".join(rng.choice([*"ABCDEFGHJKLMNPRSTUVWXYZ"], size=rng.integers(1, 4)))
        region = "".join(rng.choice([*"ABCDEFGHJKLMNPRSTUVWXYZ"], size=rng.integers(1, 4)))
        return f"{region}{rng.choice(['-', ' '])}{letters} {rng.integers(10, 9999)}"
    if layout == "sign":
        return " ".join(some(int(rng.integers(1, 4)))).upper()
    if layout == "receipt":
        return "\n".join(f"{' '.join(some(int(rng.integers(1, 3)))).title()} {number()}" for _ in range(3))
    count = int(rng.integers(3, 6)) if layout == "line" else int(rng.integers(9, 13))
    found = some(count)
    if (layout == "line" and rng.random() < 0.5) or layout == "paragraph":
        found[rng.integers(1, count)] = number()
    case = rng.random()
    found[0] = found[0].capitalize()
    if case < 0.2:
        found = [word.title() for word in found]
    if layout == "paragraph":
        thirds = [found[: count // 3], found[count // 3 : 2 * count // 3], found[2 * count // 3 :]]
        return "\n".join(" ".join(each) for each in thirds) + "."
    return " ".join(found) + (rng.choice([".", "!", "", ""]))


def draw_ink(text: str, layout: str, font: Font,
             rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[float, float, float, float]]]:
    """The ink of a text, at twice the size of the scene: (192, 960) float32 in [0, 1], and the left, upper, right and
    lower end of each line."""
    height, width = (_TWICE * side for side in SIZE)
    lines = text.split("\n")
    room = {"line": (40, 76), "paragraph": (38, 48), "receipt": (38, 48), "sign": (60, 110), "plate": (80, 120)}
    size = int(rng.integers(*room[layout]))
    while True:
        face = ImageFont.truetype(str(font.path), size)
        boxes = [face.getbbox(line) for line in lines]
        widest, tall = max(box[2] - box[0] for box in boxes), 1.3 * size * len(lines)
        if (widest <= 0.88 * width and tall <= 0.98 * height) or size <= 16:
            break
        size -= 2
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    top = (height - tall) / 2 + rng.uniform(-0.3, 0.3) * max(0.0, 0.9 * height - tall)
    left = 0.04 * width + rng.uniform(0, 1) * max(0.0, 0.92 * width - widest)
    places = []
    for line, box in zip(lines, boxes, strict=True):
        right = left + box[2]
        if layout == "receipt" and rng.random() < 0.7:  # the price stands at the right
            name, _, price = line.rpartition(" ")
            pen.text((left, top), name, 255, font=face)
            at = max(left + face.getlength(name + " "), min(left + widest + 60, 0.96 * width) - face.getlength(price))
            pen.text((at, top), price, 255, font=face)
            right = at + face.getlength(price)
        else:
            pen.text((left, top), line, 255, font=face)
        places.append((left + box[0], top + box[1], right, top + box[3]))
        top += 1.3 * size
    if layout == "plate":
        pen.rounded_rectangle((left - 20, (height - tall) / 4, left + widest + 20, height - (height - tall) / 4), 14,
                              outline=int(rng.integers(0, 200)), width=4)
    return np.asarray(canvas, np.float32) / 255, places


def _seen(box: tuple[float, float, float, float], warp: np.ndarray) -> np.ndarray:
    """The corners (4, 2) of a box of the ink as they are seen in the scene."""
    left, top, right, bottom = box
    corners = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]], np.float32)
    return np.asarray((cv2.perspectiveTransform(corners, warp)[0] + 0.5) / _TWICE - 0.5, np.float32)


def photograph(ink: np.ndarray, camera: CameraSettings, light: BadLight, layout: str,
               rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """A photograph of ink on paper: (2 h, 2 w) float32 in [0, 1] -> (h, w, 3) uint8, how strong each damage is, and the
    perspective (3, 3) in which the paper is seen, at twice the size."""
    height, width = ink.shape
    turned = rng.uniform(-light.turn, light.turn)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turned, 1.0)
    moved = (corners @ matrix[:, :2].T + matrix[:, 2] + rng.uniform(-light.tilt, light.tilt, (4, 2)) * height)
    warp = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    ink = cv2.warpPerspective(ink, warp, (width, height), flags=cv2.INTER_LINEAR)

    contrast = rng.uniform(*light.contrast)
    odds = light.inverted_prob * (2 if layout in ("sign", "plate") else 1)
    inverted = bool(rng.random() < odds)
    paper = rng.uniform(0.5, 0.95) * (1 - 0.25 * rng.random(3)).astype(np.float32)
    pigment = (paper * (1 - contrast) * (1 - 0.3 * rng.random(3))).astype(np.float32)
    if inverted:
        paper, pigment = pigment, paper
    grain = 1 + 0.02 * cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.5)
    scene = (paper + ink[:, :, None] * (pigment - paper)) * grain[:, :, None]

    falloff, shadow = rng.uniform(*light.falloff), bool(rng.random() < light.shadow_prob)
    scene = scene * _light(height, width, falloff, shadow, rng)[:, :, None]
    blur = rng.uniform(*light.blur) if rng.random() < light.blur_prob else 0.0
    motion = rng.uniform(*light.motion) if rng.random() < light.motion_prob else 0.0
    if blur:
        scene = cv2.GaussianBlur(scene, (0, 0), _TWICE * blur)
    if motion:
        scene = cv2.filter2D(scene, -1, _streak(_TWICE * motion, rng.uniform(0, np.pi)),
                             borderType=cv2.BORDER_REPLICATE)
    exposure, shot = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in (light.exposure, light.shot))
    hard = bool(rng.random() < light.jpeg_prob)
    quality = round(rng.uniform(*light.quality)) if hard else camera.quality
    read = float(np.exp(0.5 * (2.18 * np.log(shot) + 1.2)))  # as of SimulatedCamera
    used = replace(camera, exposure=exposure, shot=shot, read=read, quality=quality)
    encoded = np.rint(255 * srgb_from_linear(scene.clip(0, 1).astype(np.float32))).astype(np.uint8)
    return used.photograph(encoded, rng), {
        "turn": round(turned, 2), "contrast": round(contrast, 2), "inverted": inverted, "exposure": round(exposure, 3),
        "falloff": round(falloff, 2), "shadow": shadow, "blur": round(blur, 2), "motion": round(motion, 2),
        "shot": round(shot, 5), "quality": quality}, warp


def _light(height: int, width: int, falloff: float, shadow: bool, rng: np.random.Generator) -> np.ndarray:
    """The light on a scene: (height, width) float32 in (0, 1]."""
    down, across = np.mgrid[:height, :width].astype(np.float32)
    place = rng.uniform(-0.2, 1.2, 2) * (width, height)
    distance = np.hypot(across - place[0], 2 * (down - place[1]))
    found = 1 - falloff * (distance - distance.min()) / (distance.max() - distance.min())
    if shadow:
        angle, middle = rng.uniform(0, np.pi), rng.uniform(0.25, 0.75)
        along = (across - middle * width) * np.cos(angle) + (down - height / 2) * np.sin(angle)
        edge = 1 / (1 + np.exp((-along / rng.uniform(3, 40)).clip(-30, 30)))
        found = found * (1 - rng.uniform(0.4, 0.85) * edge)
    return np.asarray(found, np.float32)


def _streak(length: float, angle: float) -> np.ndarray:
    """The kernel of a straight motion."""
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    for step in np.linspace(-length / 2, length / 2, 4 * side):
        kernel[round(side // 2 + step * np.sin(angle)), round(side // 2 + step * np.cos(angle))] += 1
    return kernel / kernel.sum()


