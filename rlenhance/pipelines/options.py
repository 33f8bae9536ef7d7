"""The settings of each pipeline: one dataclass gives command-line flags, sliders, API fields and the recipe's JSON.

Only the standard library is imported here, so that a command's help is instant.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.numbers import parse_number
from rlenhance.pipelines.color_table import ColorTable, table_from_json

#: A preference that the model chooses itself, in files and on the command line; None in a mapping.
AUTO = "auto"
#: How much work `PhotoRestorer` does.
BUDGETS = ("fast", "normal", "best")
S = TypeVar("S", bound="ImageSettings")


@dataclass(frozen=True)
class Setting:
    """One number, or one of several words, that a user may set.

    Attributes:
        help: its text in the command's help.
        low, high: its range, both ends included. Preferences have the range of the model instead.
        default: None: the model's, or measured in the picture.
        unit: of the number ("255ths"); "" for shares.
        whole: it is an integer.
        choices: the allowed values; empty: all of the range. They are words where the default is one.
        auto: "auto" is allowed too, and means None.
        off: a word that means 0, which may lie outside the range; "": there is none.
        flag: its flag ("--strength"); by default made from the name.
        metavar: the name of its value in the help.
        hint: the way out, in the message for a value outside the range.
        aliases: other names of its flag.
        name: of the field.
    """

    help: str
    low: float = -math.inf
    high: float = math.inf
    default: float | str | None = None
    unit: str = ""
    whole: bool = False
    choices: tuple[int | str, ...] = ()
    auto: bool = False
    off: str = ""
    flag: str = ""
    metavar: str = "X"
    hint: str = ""
    aliases: tuple[str, ...] = ()
    name: str = ""

    @property
    def words(self) -> list[str]:
        """The words that are allowed in the place of a number."""
        return [AUTO] * self.auto + [self.off] * bool(self.off)

    def check(self, value: Any) -> float | int | str | None:
        """A value as the field holds it; one of another type or outside the range raises UsageError."""
        if isinstance(self.default, str):
            if not isinstance(value, str) or value not in self.choices:
                raise UsageError(f"{self.name} must be {' or '.join(map(str, self.choices))}; got {_shown(value)}")
            return value
        if isinstance(value, str) and value in self.words:
            value = None if value == AUTO else 0.0
        if value is None and (self.default is None or self.auto):
            return None
        try:
            if isinstance(value, bool):
                raise TypeError
            value = value.__index__() if self.whole else value.__float__()  # NumPy's numbers too
        except (AttributeError, TypeError, OverflowError):
            kind = "a whole number" if self.whole else "a number"
            none = "".join(f' or "{word}"' for word in self.words) or " or null" * (self.default is None)
            raise UsageError(f"{self.name} must be {kind}{none}; "
                             f"got {_shown(value)}") from None
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.name} must be {' or '.join(map(str, self.choices))}; got {value}")
        if not (self.low <= value <= self.high or (self.off and value == 0)):
            span = f"lie between {self.low:g} and {self.high:g}" if self.high < math.inf else f"be {self.low:g} or more"
            off = f", or be {self.off}" * bool(self.off)
            raise UsageError(f"{self.name} must {span}{self.unit and f' ({self.unit})'}{off}; got {value:g}"
                             f"{self.hint and f': {self.hint}'}")
        return value


def _shown(value: Any) -> str:
    return f"{json.dumps(value, default=repr):.60}"


def setting(help: str, **words: Any) -> Any:
    """A dataclass field that holds a `Setting`."""
    found = Setting(help, **words)
    return field(default=found.default, metadata={"setting": found})


#: The folder of the shipped presets, see `rlenhance.pipelines.looks`.
PRESETS = Path(__file__).parent / "presets"
#: The preferences by their names in models; range and default are the model's.
PREFERENCES: dict[str, Setting] = {name: dataclasses.replace(about, name=name) for name, about in {
    "exposure_level": Setting("how bright: mean brightness of the result, 0 to 1, or auto: what the picture suggests "
                              "(--exposure-shift starts from there)",
                              flag="--exposure", auto=True, metavar="LEVEL|auto", aliases=("--brightness",)),
    "contrast": Setting("bright and dark regions farther apart (up to 1) or closer together (down to -1); 0: as it is",
                        flag="--contrast"),
    "color": Setting("stronger colours (up to 1) or paler ones (down to -1); 0: as it is", flag="--color"),
    "smoothness": Setting("0 to 1: at 1 one curve for the whole picture, at 0 each region as it needs",
                          flag="--smoothness"),
    "highlights": Setting("0 to 1: how much lamps, windows and sky are held back", flag="--highlights"),
}.items()}
#: Preference -> its flag.
PREFERENCE_FLAGS = {name: about.flag for name, about in PREFERENCES.items()}


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """The settings of every pipeline.

    Attributes:
        strength: how much of the change is made, in [0, 1]: image + strength (result - image), before rounding.
    """

    #: Of the name of a result beside its source.
    suffix: ClassVar[str] = "_edited"

    strength: float = setting("how much of the change is made: 0 (none, the same pixels) to 1 (default)", low=0, high=1,
                              default=1.0, metavar="S")

    def __post_init__(self) -> None:
        for name, about in settings_of(type(self)).items():
            object.__setattr__(self, name, about.check(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class EnhanceSettings(ImageSettings):
    """The settings of `Enhancer`.

    Attributes:
        preference: values by name (`PREFERENCES`), in the model's ranges; None leaves the value to the model ("auto").
            Preferences that are left out have the model's default.
        exposure_shift: added to the exposure that is asked for, automatic or not, within the model's range.
        denoise: how much of the noise that the change reveals is removed afterwards, in [0, 1]; None ("auto"): as much
            as will be visible, see `Denoiser.denoise_visible`. In clips, which it would slow down, auto removes none.
        white: the temperature in kelvin of the light that the photograph was taken in, which is made daylight; None
            ("auto"): the part of a colour cast that is surely one is taken out, see
            `rlenhance.ops.white_balance.auto_gains`; 0 ("keep"): the colours of the light stay. Grey pictures stay.
        steps: stop a policy after this many of its steps; None: all.
        table: of a look: takes the place of the model, or follows it, see `ColorTable`; None: the model alone. Where it
            takes its place, preferences, exposure_shift and steps have no effect, and are refused.
    """

    suffix: ClassVar[str] = "_enhanced"

    preference: Mapping[str, float | None] = field(default_factory=dict)
    exposure_shift: float = setting("brighter (above 0) or darker than --exposure asks for, or than the picture would "
                                    "become without it; -1 to 1", low=-1, high=1, default=0.0,
                                    hint="a weight of exposure lies between 0 and 2")
    denoise: float | None = setting("how much of the noise that brightening shows is taken: 0 (none) to 1, or auto: as "
                                    "much as will be visible (default; none in clips)", low=0, high=1, auto=True,
                                    metavar="D|auto")
    white: float | None = setting("the colour of the light: keep, K (its temperature in kelvin, 2500 to 12000, made "
                                  "daylight), or auto: a cast is taken out as far as it is surely one (default)",
                                  low=2500, high=12000, unit="kelvin", auto=True, off="keep", metavar="auto|keep|K")
    steps: int | None = setting("stop the policy after N of its steps", whole=True, metavar="N")
    table: ColorTable | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.preference, Mapping):
            raise UsageError(f"preference must be a mapping of names to numbers; got {_shown(self.preference)}")
        object.__setattr__(self, "preference", dict(self.preference))
        if not isinstance(self.table, ColorTable | None):
            raise UsageError(f"table must be a ColorTable; got {_shown(self.table)}")


@dataclass(frozen=True, kw_only=True)
class DenoiseSettings(ImageSettings):
    """The settings of `Denoiser`.

    Attributes:
        noise: standard deviation of uniform noise, in 255ths, 0 to 75; None: measured in each photograph.
        iterations: of a policy over latent codes: how often the result is enhanced again.
    """

    suffix: ClassVar[str] = "_denoised"

    noise: float | None = setting(
        "how strong the noise is everywhere: its standard deviation in 255ths, 0 to 75 (default: as each photograph "
        "shows it)", low=0, high=75, unit="a standard deviation in 255ths", metavar="SIGMA",
        hint="reduce a noisier picture first")
    iterations: int = setting(
        "of a policy over latent codes (rse-faces): enhance the result K times more; patches that no longer change "
        "stop (default: 0)", low=0, default=0, whole=True, metavar="K")


@dataclass(frozen=True, kw_only=True)
class CompleteSettings(ImageSettings):
    """The settings of `Completer`.

    Attributes:
        texture: how much of the photograph's own texture is laid on what a network fills in, in [0, 1]; 0: the network
            alone. Rules have no part in it.
    """

    suffix: ClassVar[str] = "_completed"

    texture: float = setting("how much of the photograph's own texture is laid on what a network fills in: 0 (the "
                             "network alone, soft) to 1 (default)", low=0, high=1, default=1.0, metavar="T")


@dataclass(frozen=True, kw_only=True)
class UpscaleSettings(ImageSettings):
    """The settings of `Upscaler`; a strength below 1 mixes the result with the bicubic enlargement.

    Attributes:
        scale: the factor along each side; None: the network's.
    """

    suffix: ClassVar[str] = "_upscaled"

    scale: int | None = setting("how much larger along each side: 2 or 4 (default: as the model, 4)", choices=(2, 4),
                                whole=True, metavar="N")


@dataclass(frozen=True, kw_only=True)
class RestoreSettings(ImageSettings):
    """The settings of `PhotoRestorer`.

    Attributes:
        budget: "fast" (at most two tools, cheap ones preferred), "normal" (four), "best" (six, whatever they cost,
            and each is tried before it is taken).
        steps: at most this many tools; None: as the budget.
    """

    suffix: ClassVar[str] = "_restored"

    budget: str = setting("how much work a photograph is worth: fast, normal (default) or best", default="normal",
                          choices=BUDGETS, metavar="|".join(BUDGETS))
    steps: int | None = setting("at most N tools one after the other, 1 to 10 (default: 2, 4 or 6, by the budget)",
                                low=1, high=10, whole=True, metavar="N")


def settings_of(settings: type[ImageSettings] | ImageSettings) -> dict[str, Setting]:
    """The numbers among the settings, by the name of their field; preferences are in `PREFERENCES`.

    Example:
        >>> list(settings_of(DenoiseSettings))
        ['strength', 'noise', 'iterations']
    """
    found = {}
    for entry in dataclasses.fields(settings):
        about = entry.metadata.get("setting")
        if about is not None:
            found[entry.name] = dataclasses.replace(about, name=entry.name, flag=about.flag or
                                                    f"--{entry.name.replace('_', '-')}")
    return found


def flags_of(settings: type[ImageSettings]) -> list[Setting]:
    """Every setting that has a flag, preferences first.

    Example:
        >>> [about.flag for about in flags_of(UpscaleSettings)]
        ['--strength', '--scale']
    """
    named = {entry.name for entry in dataclasses.fields(settings)}
    return [*(PREFERENCES.values() if "preference" in named else ()), *settings_of(settings).values()]


def to_json(settings: ImageSettings) -> dict[str, Any]:
    """Settings as JSON holds them: "auto" where the model chooses.

    Example:
        >>> to_json(EnhanceSettings(preference={"exposure_level": None}))["preference"]
        {'exposure_level': 'auto'}
    """
    found = dataclasses.asdict(settings)
    table: ColorTable | None = getattr(settings, "table", None)
    found.pop("table", None)
    if table is not None:
        found["table"] = table.to_json()
    for name, about in settings_of(settings).items():
        found[name] = _word(about, found[name]) or found[name]
    if "preference" in found:
        found["preference"] = {name: AUTO if value is None else value for name, value in found["preference"].items()}
    return found


def from_json(kind: type[S], found: Mapping[str, Any]) -> S:
    """The inverse of `to_json`; settings that are left out have their defaults.

    Raises:
        UsageError: an unknown name, or a value of another type or outside its range.
    """
    names = [entry.name for entry in dataclasses.fields(kind)]
    for name in found:
        if name not in names:
            raise UnknownName("setting", name, names)
    given = dict(found)
    if "preference" in given:
        given["preference"] = preference_from_json(given["preference"])
    if given.get("table") is not None:
        given["table"] = table_from_json(given["table"])
    return kind(**given)


def preference_from_json(found: Any) -> dict[str, float | None]:
    """Preference values by name, "auto" as None; names and ranges are checked by `check_preferences`.

    Raises:
        UsageError: not an object of numbers and "auto".
    """
    if not isinstance(found, Mapping):
        raise UsageError(f'preference must be an object, as in {{"exposure_level": 0.5}}; got {_shown(found)}')
    for name, value in found.items():
        if value != AUTO and (isinstance(value, bool) or not isinstance(value, (int, float)) or
                              abs(value) >= 1e300):  # also integers that no float can hold
            raise UsageError(f'preference {name:.60} must be a number or "{AUTO}"; got {_shown(value)}')
    return {name: None if value == AUTO else float(value) for name, value in found.items()}


def parse_value(about: Setting, word: str) -> float | str:
    """The value of a flag or of a field of a request: a number, or "auto" where it is allowed.

    Raises:
        UsageError: neither.
    """
    if word in about.words or isinstance(about.default, str):
        return word
    try:
        return parse_number(word, whole=True) if about.whole else float(word)  # the range is checked by `check`
    except UsageError:
        raise
    except ValueError as error:
        number = "5000" if about.off else "0.45"
        wanted = "a whole number, as in 2" if about.whole else ", or ".join([f"a number, as in {number}", *about.words])
        raise UsageError(f"{wanted}; got {word!r}") from error


def format_flags(settings: ImageSettings) -> list[str]:
    """Settings as flags, without those at their defaults.

    Example:
        >>> format_flags(EnhanceSettings(preference={"contrast": 0.2}, denoise=0.5))
        ['--contrast', '0.2', '--denoise', '0.5']
    """
    words: list[str] = []
    for name, value in getattr(settings, "preference", {}).items():
        words += PREFERENCE_FLAGS.get(name, name), _exactly(value)
    for name, about in settings_of(settings).items():
        value = getattr(settings, name)
        if value != about.default:
            words += about.flag, _word(about, value) or _exactly(value)
    return words


def _word(about: Setting, value: float | str | None) -> str:
    """The word of a value that has one: "auto" or "keep"; "" for numbers."""
    if isinstance(value, str):
        return value
    return AUTO if about.auto and value is None else about.off if value == 0 else ""


def _exactly(value: float | None) -> str:
    if value is None:
        return AUTO
    short = format(value, "g")
    return short if float(short) == value else repr(value)
