"""The tab of repair: a detail at full resolution, before and after, what was done to it, and the whole result."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import RestoreSettings
from rlenhance.web.components import (
    LIVE,
    AppContext,
    button,
    link,
    number,
    photo_drop,
    placeholder,
    require_token,
    setting_slider,
    show_errors,
    slider,
)
from rlenhance.web.html import before_after, notes
from rlenhance.web.previews import preview_restored, restore

#: Label -> budget.
_BUDGETS = {"Quick": "fast", "Usual": "normal", "Thorough": "best"}


class RestoreTab:
    """The tab."""

    def __init__(self, context: AppContext):
        self.context, self.service = context, context.service
        photo = photo_drop("Drop an old or damaged photograph here, or press to choose one", "restore")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                view = gr.HTML(placeholder("A detail appears here, pixel for pixel, before and after."),
                               elem_id="restore-view")
                status = gr.HTML("", elem_id="restore-status")
                save = button("Save in full size", "restore-save", main=True)
                saved = gr.HTML("", elem_id="restore-saved")
            with gr.Column(scale=2, min_width=300):
                budget = gr.Dropdown(list(_BUDGETS), value="Usual", label="How much work it is worth", filterable=False,
                                     elem_id="budget", info="quick: at most two tools; usual: four; thorough: six")
                strength = setting_slider(RestoreSettings, "strength", "How much of the repair",
                                          "left: the photograph as it was", elem_id="repair")
                across = slider(0, 1, 0.5, step=0.01, label="Look farther left or right", elem_id="restore-across")
                down = slider(0, 1, 0.5, step=0.01, label="Look farther up or down", elem_id="restore-down")
        given, shown = [photo, budget, strength, across, down], [view, status]
        photo.upload(show_errors(self.show), given, shown).then(lambda: "", outputs=saved)
        for part in (budget, strength, across, down):
            part.input(show_errors(self.show), given, shown, **LIVE)
        save.click(show_errors(self.save), given, saved)

    def show(self, photo: Any, budget: Any, strength: Any, across: Any, down: Any) -> tuple[Any, Any]:
        """The detail before and after."""
        if not photo:
            return gr.skip(), gr.skip()
        found = self.context.run(preview_restored, self.service, require_token(photo), _settings(budget, strength),
                                 across=number(across, "Left or right"), down=number(down, "Up or down"))
        (width, height), (rows, columns) = found.shown.size, found.shown.before.shape[:2]
        return (before_after(found.shown.before, found.shown.after, name="restore"),
                notes([f"{columns} × {rows} of {width} × {height} pixels; this detail: {found.words}"], "line"))

    def save(self, photo: Any, budget: Any, strength: Any, *_: Any) -> str:
        """The whole photograph, what was done to it, and the link that fetches it."""
        result = self.context.run(restore, self.service, require_token(photo), _settings(budget, strength))
        return notes([f"The whole photograph: {result.words}"], "line") + link(result)


def _settings(budget: Any, strength: Any) -> RestoreSettings:
    if budget not in _BUDGETS:
        raise UsageError(f"the work is {', '.join(_BUDGETS)}; got {budget!r:.40}")
    return RestoreSettings(budget=_BUDGETS[budget], strength=number(strength, "How much"))
