"""The tab of denoising."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.pipelines.options import DenoiseSettings
from rlenhance.web.components import link, number, setting_slider
from rlenhance.web.previews import Detail, denoise, preview_denoised
from rlenhance.web.service import Result
from rlenhance.web.tabs.detail_tab import DetailTab


class DenoiseTab(DetailTab):
    """The tab."""

    name, words = "denoise", "Choose a grainy photograph, or drop it here"

    def make_controls(self) -> list[Any]:
        strength = setting_slider(DenoiseSettings, "strength", "How much of the grain to take", elem_id="grain")
        measured = gr.Checkbox(True, label="Measure the grain in the photograph", elem_id="measured")
        noise = setting_slider(DenoiseSettings, "noise", "How strong the grain is",
                               "its standard deviation, in 255ths", value=15, step=1, visible=False)
        measured.input(lambda own: gr.update(visible=not own), measured, noise)
        return [strength, measured, noise]

    def preview(self, token: str, *values: Any, across: float, down: float) -> Detail:
        return preview_denoised(self.service, token, _settings(*values), across=across, down=down)

    def process(self, token: str, *values: Any) -> Result:
        return denoise(self.service, token, _settings(*values))

    def describe(self, result: Result) -> str:
        return link(result)


def _settings(strength: Any, measured: Any, noise: Any) -> DenoiseSettings:
    return DenoiseSettings(noise=None if measured else number(noise, "Grain"), strength=number(strength, "How much"))
