"""The tabs over the settings of a pipeline: a detail of a photograph in full size, before and after, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import DenoiseSettings, ImageSettings, RestoreSettings, UpscaleSettings
from rlenhance.web.components import (
    LIVE,
    AppContext,
    KeptSettings,
    button,
    link,
    number,
    photo_drop,
    place_of,
    require_token,
    setting_slider,
    show_errors,
    viewer,
)
from rlenhance.web.html import before_after, notes
from rlenhance.web.previews import preview, process

_MIDDLE = (0.5, 0.5)
#: Label -> budget; label -> scale.
_BUDGETS = {"Quick": "fast", "Usual": "normal", "Thorough": "best"}
_SCALES = {"twice as wide and high": 2, "four times as wide and high": 4}


def _denoise_controls() -> list[Any]:
    strength = setting_slider(DenoiseSettings, "strength", "How much of the grain to take", elem_id="grain")
    measured = gr.Checkbox(True, label="Measure the grain in the photograph", elem_id="measured")
    noise = setting_slider(DenoiseSettings, "noise", "How strong the grain is",
                           "its standard deviation, in 255ths", value=15, step=1, visible=False)
    measured.change(lambda own: gr.update(visible=not own), measured, noise, show_progress="hidden")
    return [strength, measured, noise]


def _denoise_settings(strength: Any, measured: Any, noise: Any) -> DenoiseSettings:
    return DenoiseSettings(noise=None if measured else number(noise, "Grain"), strength=number(strength, "How much"))


def _restore_controls() -> list[Any]:
    budget = gr.Dropdown(list(_BUDGETS), value="Usual", label="How much work it is worth", filterable=False,
                         elem_id="budget", info="quick: at most two tools; usual: four; thorough: six")
    return [budget, setting_slider(RestoreSettings, "strength", "How much of the repair", elem_id="repair")]


def _restore_settings(budget: Any, strength: Any) -> RestoreSettings:
    return RestoreSettings(budget=_chosen("work", _BUDGETS, budget), strength=number(strength, "How much"))


def _enlarge_controls() -> list[Any]:
    return [gr.Dropdown(list(_SCALES), value=next(iter(_SCALES)), label="How much larger", filterable=False,
                        elem_id="scale")]


def _enlarge_settings(scale: Any) -> UpscaleSettings:
    return UpscaleSettings(scale=_chosen("scale", _SCALES, scale))


def _chosen(what: str, values: Mapping[str, Any], label: Any) -> Any:
    if label not in values:
        raise UsageError(f"the {what} is {', '.join(values)}; got {label!r:.40}")
    return values[label]


@dataclass(frozen=True)
class _Panel:
    """What a tab shows of a pipeline.

    Attributes:
        words: on the place where a photograph is dropped.
        controls: makes the parts.
        settings: of their values.
        before: what stands to the left of the result.
        says: whether the result of the whole photograph is given in words.
    """

    words: str
    controls: Callable[[], list[Any]]
    settings: Callable[..., ImageSettings]
    before: str = "Before"
    says: bool = False


_PANELS = {
    "denoise": _Panel("Choose a grainy photograph, drop or paste it here", _denoise_controls, _denoise_settings),
    "enlarge": _Panel("Choose a small photograph, drop or paste it here", _enlarge_controls, _enlarge_settings,
                      "Usual enlargement"),
    "restore": _Panel("Choose an old or damaged photograph, drop or paste it here", _restore_controls,
                      _restore_settings, says=True),
}


class PipelineTab:
    """A photograph, a detail of it that follows the controls, and the whole result.

    Args:
        context, page: of the tab.
        name: of the tab: "denoise", "enlarge" or "restore".
    """

    def __init__(self, context: AppContext, page: gr.Blocks, name: str):
        self.context, self.service, self.panel = context, context.service, _PANELS[name]
        place = gr.State(_MIDDLE)
        with gr.Row(elem_classes="workplace"):
            with gr.Column(elem_classes="stage"):
                photo = photo_drop(self.panel.words, name)
                view = viewer(f"{name}-view")
                status = gr.HTML("", elem_id=f"{name}-status")
            with gr.Column(elem_classes="controls"):
                with gr.Row(elem_classes="actions"):
                    save = button("Save", f"{name}-save", main=True)
                saved = gr.HTML("", elem_id=f"{name}-saved")
                controls = self.panel.controls()
        KeptSettings(page, name, controls)
        given, shown = [photo, place, *controls], [view, status]
        photo.upload(lambda: (_MIDDLE, ""), outputs=[place, saved]).then(
            show_errors(self.show), given, shown, show_progress_on=view)
        for part in controls:
            part.input(show_errors(self.show), given, shown, **LIVE)
        view.select(show_errors(self.look), given, [*shown, place], show_progress="hidden")
        save.click(show_errors(self.save), [photo, *controls], saved, show_progress_on=view)

    def show(self, photo: Any, place: tuple[float, float], *values: Any) -> tuple[Any, Any]:
        """The detail before and after, and the line below it."""
        if not photo:
            return gr.skip(), gr.skip()
        across, down = place
        detail = self.context.run(preview, self.service, require_token(photo), self.panel.settings(*values),
                                  across=across, down=down)
        found, (width, height) = detail.shown, detail.shown.size
        rows, columns = found.before.shape[:2]
        return (before_after(found.before, found.after, left=self.panel.before, whole=found.size,
                             part=found.part or (0, 0)),
                notes([f"{columns} × {rows} of {width} × {height} pixels; {detail.words}"], "line"))

    def look(self, event: gr.EventData, photo: Any, _: Any, *values: Any) -> tuple[Any, Any, Any]:
        """The detail that the picture was dragged to."""
        place = place_of(event) or _MIDDLE
        return *self.show(photo, place, *values), place

    def save(self, photo: Any, *values: Any) -> str:
        """The whole photograph, and the link that fetches it."""
        result = self.context.run(process, self.service, require_token(photo), self.panel.settings(*values))
        said = notes([f"The whole photograph: {result.words}"], "line") if self.panel.says else ""
        return said + link(result)
