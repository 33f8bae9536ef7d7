"""Components of the tabs: upload area, sliders of the settings, errors as messages."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import gradio as gr

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.io.containers import EXTENSIONS
from rlenhance.pipelines.looks import Look
from rlenhance.pipelines.options import EnhanceSettings, ImageSettings, settings_of
from rlenhance.web.file_store import parse_tokens
from rlenhance.web.html import download, notes
from rlenhance.web.job_queue import JobQueue
from rlenhance.web.model_catalog import ModelChoice
from rlenhance.web.service import EnhanceRequest, EnhanceService, Result

#: Preference -> label and description of its slider.
SLIDERS = {
    "exposure_level": ("Brightness", "of the whole picture"),
    "contrast": ("Contrast", "flatter to stronger"),
    "color": ("Colour", "paler to richer"),
    "smoothness": ("Evenness", "dark corners on their own, or the same everywhere"),
    "highlights": ("Hold back bright lights", ""),
}
#: What becomes of the light's colour: label -> `EnhanceSettings.white`.
WHITES = {"take out a cast": None, "as it is": 0.0, "bulbs (2700 K) become daylight": 2700.0,
          "halogen lamps (3200 K) become daylight": 3200.0, "office lamps (4000 K) become daylight": 4000.0,
          "shade (8000 K) becomes sunlight": 8000.0}
#: Where settings come from: the sliders, or the look that was learned or loaded.
BY_HAND, MY_LOOK = "by hand", "my look"
#: Photographs at a time.
MOST_PHOTOS = 100
#: Formats of results: label -> name.
FORMATS = {"as the original": None, "JPEG": "jpg", "PNG": "png", "TIFF": "tiff", "WebP": "webp"}
#: Options of events of a slider that is dragged: only the last one runs, without a progress overlay.
LIVE: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
#: What a viewer asks for is a selection.
_LOOKS = "element.addEventListener('look', (event) => trigger('select', event.detail));"
#: The place of a look's file, whose text is an event's value (`rlenhance.web.event_check`).
LOOK_FILE = "look-file"
_READ = """element.addEventListener('change', async (event) => {
  const file = event.target.files[0];
  if (file) { props.value = file.size > 100000 ? "too large" : await file.text(); trigger('upload'); }
  event.target.value = ''; });"""
_SENT = """element.addEventListener('dropped', (event) => {
  props.value = event.detail.tokens; trigger('upload'); });"""


def show_errors(work: Callable[..., Any]) -> Callable[..., Any]:
    """An event handler whose UsageErrors are shown on the page; other errors stay in the server's log."""
    if isgeneratorfunction(work):
        @wraps(work)
        def steps(*words: Any) -> Iterator[Any]:
            try:
                yield from work(*words)
            except UsageError as error:
                raise _shown(error) from None

        return steps

    @wraps(work)
    def once(*words: Any) -> Any:
        try:
            return work(*words)
        except UsageError as error:
            raise _shown(error) from None

    return once


def _shown(error: UsageError) -> gr.Error:
    return gr.Error(html.escape(str(error)), duration=30, title="Not done", print_exception=False)


def photo_drop(words: str, name: str, several: int = 0) -> gr.HTML:
    """An upload area for one photograph, or for `several`, among them those of a folder; its event
    `upload` fires when files have arrived, and its value is read by `parse_tokens`."""
    return gr.HTML("", elem_id=f"drop-{name}", js_on_load=_SENT, html_template=(
        f'<photo-drop name="{name}" words="{html.escape(words)}" accept="image/*,{",".join(EXTENSIONS)}"'
        f'{f" several={several}" if several else ""}></photo-drop>'))


def look_file(words: str) -> gr.HTML:
    """A place for the file of a look; its event `upload` fires when one was chosen, and its value is the text."""
    return gr.HTML("", elem_id=LOOK_FILE, js_on_load=_READ, html_template=(
        f'<label class="look-file"><input type="file" accept=".json,application/json">{html.escape(words)}</label>'))


def require_token(text: object) -> str:
    """The token of a `photo_drop`."""
    tokens = parse_tokens(text)
    if not tokens:
        raise UsageError("choose a photograph first")
    return tokens[0]


def viewer(name: str) -> gr.HTML:
    """The place of a `before_after`; its event `select` asks for a part in full size, see `place_of`."""
    return gr.HTML("", elem_id=name, js_on_load=_LOOKS)


def place_of(event: gr.EventData) -> tuple[float, float] | None:
    """The place (across, down) in [0, 1] of the part that a viewer asks for; None: the whole."""
    found = event._data if isinstance(event._data, dict) else {}
    across, down = found.get("across", -1), found.get("down", -1)
    return None if min(across, down) < 0 else (across, down)


def placeholder(words: str) -> str:
    """The text in the place of an image that does not exist yet."""
    return f'<div class="nothing">{html.escape(words)}</div>'


def link(result: Result, words: str = "Download", fresh: bool = True) -> str:
    """The download link of a result, followed automatically where it is fresh, and its notes."""
    file = result.file
    return download(f"take/{file.token}", file.name, file.path.stat().st_size, words, fresh) + notes(result.notes)


def button(words: str, name: str, main: bool = False) -> gr.Button:
    """A button with an element id."""
    return gr.Button(words, elem_id=name, variant="primary" if main else "secondary", min_width=110)


def slider(*words: Any, **named: Any) -> gr.Slider:
    """A slider without Gradio's reset button."""
    return gr.Slider(*words, buttons=[], **named)


def setting_slider(settings: type[ImageSettings], name: str, label: str, info: str = "", **named: Any) -> gr.Slider:
    """The slider of a setting, with its range and default."""
    about = settings_of(settings)[name]
    found = {"minimum": about.low, "maximum": about.high, "value": about.default, "step": 0.01, "elem_id": name}
    return slider(label=label, info=info or None, **found | named)


class KeptSettings:
    """Parts of a tab whose values outlive a reload: the browser keeps them, and forgets them for another version of
    the page (settings.js).

    Args:
        page: that is built.
        name: of the tab.
        parts: with plain values.
        about: `automatic`, `model` and `presets` of a tab whose steps are taken back.
    """

    def __init__(self, page: gr.Blocks, name: str, parts: Sequence[Any], **about: Any):
        self.name, self.parts = name, list(parts)
        offered = [[part.value, getattr(part, "choices", None), getattr(part, "minimum", None),
                    getattr(part, "maximum", None)] for part in parts]
        key = hashlib.sha256(json.dumps([__version__, offered, about]).encode()).hexdigest()[:16]
        about |= {"key": key, "defaults": [part.value for part in parts]}
        page.load(None, None, self.parts, js=f"() => settings.open('{name}', {json.dumps(about)})")
        for part in parts:
            part.change(None, self.parts, None, js=f"(...values) => settings.note('{name}', values)")

    def on_click(self, pressed: gr.Button, act: str) -> Any:
        """Set the parts as the browser has them: before the last step (`act` is "undo"), or at first ("reset")."""
        return pressed.click(None, None, self.parts, js=f"() => settings.{act}('{self.name}')")


class Controls:
    """The sliders of `EnhanceSettings`, and the request of their values."""

    def __init__(self, service: EnhanceService):
        self.service = service
        choice = service.default
        self.my_look = gr.State(None)  # a Look
        self.chooses = gr.Dropdown([BY_HAND, MY_LOOK], value=BY_HAND, label="Settings",
                                   elem_id="chooses", filterable=False, visible=False)
        self.auto = gr.Checkbox("exposure_level" in choice.auto, label="Automatic brightness",
                                elem_id="auto", visible="exposure_level" in choice.auto)
        self.sliders = {name: slider(label=words, info=info or None, elem_id=name.replace("_", "-"), step=0.01,
                                     **_slider(choice, name)) for name, (words, info) in SLIDERS.items()}
        self.shift = setting_slider(EnhanceSettings, "exposure_shift", "Darker or brighter than that",
                                    elem_id="exposure-shift", minimum=-0.3,
                                    maximum=0.3, visible="exposure_level" in choice.auto)
        self.strength = setting_slider(EnhanceSettings, "strength", "How much of all this")
        self.auto_denoise = gr.Checkbox(True, label="Automatic grain removal", elem_id="auto-denoise")
        self.denoise = setting_slider(EnhanceSettings, "denoise", "Take out grain", value=1.0)
        self.white = gr.Dropdown(list(WHITES), value=next(iter(WHITES)), label="Colour of the light", elem_id="white",
                                 filterable=False)
        with gr.Accordion("More", open=False):
            self.model = gr.Dropdown(list(service.choices), value=choice.label, label="Who decides (model)",
                                     elem_id="model", filterable=False)
            self.format = gr.Dropdown(list(FORMATS), value=next(iter(FORMATS)), label="Save as", filterable=False,
                                      elem_id="format")
            self.strip = gr.Checkbox(False, label="Leave out camera, date and place", elem_id="strip")

    @property
    def adjusted(self) -> list[Any]:
        """The controls that presets, variants and references set: auto, the preferences, strength, shift."""
        return [self.auto, *self.sliders.values(), self.strength, self.shift]

    @property
    def kept(self) -> list[Any]:
        """The controls that are kept and taken back: the above, automatic denoising, denoise, white, model, format,
        strip."""
        return [*self.adjusted, self.auto_denoise, self.denoise, self.white, self.model, self.format, self.strip]

    @property
    def all(self) -> list[Any]:
        """All controls of a request: the above, what chooses, and the look."""
        return [*self.kept, self.chooses, self.my_look]

    def request(self, *values: Any) -> EnhanceRequest:
        """The request of the values of `all`, without preferences at the model's default."""
        auto, *levels, strength, shift, auto_denoise, denoise, white, model, form, strip, chooses, look = values
        if form not in FORMATS:
            raise UsageError(f"no kind of file {form!r}; there are {', '.join(FORMATS)}")
        if chooses == MY_LOOK:
            return look_request(self.service, look, number(strength, "How much"), bool(strip), FORMATS[form])
        choice = self.service.choice(model)
        if white not in WHITES:
            raise UsageError(f"no colour of light {white!r}; there are {', '.join(WHITES)}")
        wanted: dict[str, float | None] = {}
        for name, level in zip(SLIDERS, levels, strict=True):
            if name not in choice.ranges or (name == "exposure_level" and auto and name in choice.auto):
                continue
            value, default = number(level, SLIDERS[name][0]), choice.ranges[name][1]
            if value != default or name in choice.auto:
                wanted[name] = value
        decides = auto and "exposure_level" in choice.auto
        settings = EnhanceSettings(preference=wanted, strength=number(strength, "How much"),
                                   exposure_shift=number(shift, "Darker or brighter") if decides else 0.0,
                                   denoise=None if auto_denoise else number(denoise, "Take out grain"),
                                   white=WHITES[white])
        return EnhanceRequest(settings, choice.asked, bool(strip), FORMATS[form])

    def values(self, choice: ModelChoice, preference: Mapping[str, float | None], strength: float,
               shift: float = 0.0) -> list[Any]:
        """The values of `adjusted` for preferences; the others have the model's default.

        A model that does not choose the exposure by itself gets its default with the shift.
        """
        auto = "exposure_level" in choice.auto and preference.get("exposure_level") is None
        if shift and not auto:
            low, default, high = choice.ranges["exposure_level"]
            preference, shift = {**preference, "exposure_level": min(max(default + shift, low), high)}, 0.0
        levels = []
        for name in SLIDERS:
            default = choice.ranges.get(name, (0.0, 0.0, 1.0))[1]
            value = preference.get(name)
            levels.append(default if value is None else value)
        return [auto, *levels, strength, shift]

    def of_model(self, label: Any) -> list[Any]:
        """Values of `adjusted` for another model."""
        return [*self.values(self.service.choice(label), {}, strength=1.0)[:-2], gr.skip(), gr.skip()]

    def ranges_of_model(self, label: Any) -> list[Any]:
        """Ranges of `adjusted`, and which of them are there, for a model."""
        choice = self.service.choice(label)
        auto = "exposure_level" in choice.auto
        ranges = [_slider(choice, name) for name in SLIDERS]
        return [gr.update(visible=auto), *(gr.update(**{key: value for key, value in found.items() if key != "value"})
                                           for found in ranges), gr.skip(), gr.update(visible=auto)]


def look_request(service: EnhanceService, look: Look | None, strength: float = 1.0, strip: bool = False,
                 form: str | None = None) -> EnhanceRequest:
    """The request of a look, with a strength below 1 in the place of its own.

    Raises:
        UsageError: there is no look yet, or its model is not on this page.
    """
    if look is None:
        raise UsageError("there is no look of yours yet: make one under My look, or load its file there")
    model = next((choice for choice in service.choices.values() if choice.model == look.model), None)
    if model is None:
        raise UsageError(f"the look was made with the model {look.model!r:.60}, which is not on this page; there are "
                         f"{', '.join(choice.model for choice in service.choices.values())}")
    look = look if strength == 1 else look.changed({"strength": strength})
    return EnhanceRequest(EnhanceSettings(strength=strength), model.asked, strip, form, look)


def _slider(choice: ModelChoice, name: str) -> dict[str, Any]:
    low, default, high = choice.ranges.get(name, (0.0, 0.0, 1.0))
    return {"minimum": low, "maximum": high, "value": default, "visible": name in choice.ranges}


def number(value: Any, words: str) -> float:
    """A slider's value, rounded to three digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{words}: a number; got {value!r}")
    return round(float(value), 3)


class AppContext:
    """The service and the queue of its jobs."""

    def __init__(self, service: EnhanceService, queue: JobQueue):
        self.service, self.queue = service, queue
        self.run = queue.run
