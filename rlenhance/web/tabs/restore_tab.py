"""The tab of repair, which says what was done to the photograph."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import RestoreSettings
from rlenhance.web.components import link, number, setting_slider
from rlenhance.web.html import notes
from rlenhance.web.previews import Detail, preview_restored, restore
from rlenhance.web.service import Result
from rlenhance.web.tabs.detail_tab import DetailTab

#: Label -> budget.
_BUDGETS = {"Quick": "fast", "Usual": "normal", "Thorough": "best"}


class RestoreTab(DetailTab):
    """The tab."""

    name, words = "restore", "Choose an old or damaged photograph, or drop it here"

    def make_controls(self) -> list[Any]:
        budget = gr.Dropdown(list(_BUDGETS), value="Usual", label="How much work it is worth", filterable=False,
                             elem_id="budget", info="quick: at most two tools; usual: four; thorough: six")
        return [budget, setting_slider(RestoreSettings, "strength", "How much of the repair",
                                       elem_id="repair")]

    def preview(self, token: str, *values: Any, across: float, down: float) -> Detail:
        return preview_restored(self.service, token, _settings(*values), across=across, down=down)

    def process(self, token: str, *values: Any) -> Result:
        return restore(self.service, token, _settings(*values))

    def describe(self, result: Result) -> str:
        return notes([f"The whole photograph: {result.words}"], "line") + link(result)


def _settings(budget: Any, strength: Any) -> RestoreSettings:
    if budget not in _BUDGETS:
        raise UsageError(f"the work is {', '.join(_BUDGETS)}; got {budget!r:.40}")
    return RestoreSettings(budget=_BUDGETS[budget], strength=number(strength, "How much"))
