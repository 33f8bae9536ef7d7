"""The tab of enlargement."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import UpscaleSettings
from rlenhance.web.components import link
from rlenhance.web.previews import Detail, enlarge, preview_enlarged
from rlenhance.web.service import Result
from rlenhance.web.tabs.detail_tab import DetailTab

#: Label -> scale.
_SCALES = {"twice as wide and high": 2, "four times as wide and high": 4}


class EnlargeTab(DetailTab):
    """The tab."""

    name, words, before = "enlarge", "Choose a small photograph, or drop it here", "Usual enlargement"

    def make_controls(self) -> list[Any]:
        return [gr.Dropdown(list(_SCALES), value=next(iter(_SCALES)), label="How much larger", filterable=False,
                            elem_id="scale")]

    def preview(self, token: str, *values: Any, across: float, down: float) -> Detail:
        return preview_enlarged(self.service, token, _settings(*values), across=across, down=down)

    def process(self, token: str, *values: Any) -> Result:
        return enlarge(self.service, token, _settings(*values))

    def describe(self, result: Result) -> str:
        return link(result)


def _settings(scale: Any) -> UpscaleSettings:
    if scale not in _SCALES:
        raise UsageError(f"the scale is {', '.join(_SCALES)}; got {scale!r:.40}")
    return UpscaleSettings(scale=_SCALES[scale])
