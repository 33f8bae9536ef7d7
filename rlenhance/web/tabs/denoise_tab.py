"""The tab of denoising: a detail at full resolution, before and after, and the whole result."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.pipelines.options import DenoiseSettings
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
from rlenhance.web.previews import denoise, preview_denoised


class DenoiseTab:
    """The tab."""

    def __init__(self, context: AppContext):
        self.context, self.service = context, context.service
        photo = photo_drop("Drop a grainy photograph here, or press to choose one", "denoise")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                view = gr.HTML(placeholder("A detail appears here, pixel for pixel, before and after."),
                               elem_id="denoise-view")
                status = gr.HTML("", elem_id="denoise-status")
                save = button("Save in full size", "denoise-save", main=True)
                saved = gr.HTML("", elem_id="denoise-saved")
            with gr.Column(scale=2, min_width=300):
                strength = setting_slider(DenoiseSettings, "strength", "How much of the grain to take",
                                          "left: all of it stays", elem_id="grain")
                measured = gr.Checkbox(True, label="Measure the grain in the photograph", elem_id="measured")
                noise = setting_slider(DenoiseSettings, "noise", "How strong the grain is",
                                       "by hand: its standard deviation, in 255ths", value=15, step=1, visible=False)
                across = slider(0, 1, 0.5, step=0.01, label="Look farther left or right", elem_id="across")
                down = slider(0, 1, 0.5, step=0.01, label="Look farther up or down", elem_id="down")
        given, shown = [photo, strength, measured, noise, across, down], [view, status]
        photo.upload(show_errors(self.show), given, shown).then(lambda: "", outputs=saved)
        measured.input(lambda own: gr.update(visible=not own), measured, noise).then(
            show_errors(self.show), given, shown)
        for part in (strength, noise, across, down):
            part.input(show_errors(self.show), given, shown, **LIVE)
        save.click(show_errors(self.save), given, saved)

    def show(self, photo: Any, strength: Any, measured: Any, noise: Any, across: Any, down: Any) -> tuple[Any, Any]:
        """The detail before and after."""
        if not photo:
            return gr.skip(), gr.skip()
        found = self.context.run(preview_denoised, self.service, require_token(photo),
                                 _settings(strength, measured, noise), across=number(across, "Left or right"),
                                 down=number(down, "Up or down"))
        (width, height), (rows, columns) = found.shown.size, found.shown.before.shape[:2]
        said = f"{columns} × {rows} of {width} × {height} pixels; {found.words}"
        return before_after(found.shown.before, found.shown.after, name="denoise"), notes([said], "line")

    def save(self, photo: Any, strength: Any, measured: Any, noise: Any, *_: Any) -> str:
        """The whole photograph, and the link that fetches it."""
        return link(self.context.run(denoise, self.service, require_token(photo), _settings(strength, measured, noise)))


def _settings(strength: Any, measured: Any, noise: Any) -> DenoiseSettings:
    return DenoiseSettings(noise=None if measured else number(noise, "Grain"), strength=number(strength, "How much"))
