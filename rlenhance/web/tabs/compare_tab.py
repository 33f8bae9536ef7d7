"""The tab that lays two models over each other on one photograph, with scores where a reference is given."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.web.components import Desk, button, drop, model_labels, nothing, token_of, told
from rlenhance.web.file_store import tokens_of
from rlenhance.web.html import notes, split, table
from rlenhance.web.previews import AS_IT_IS, SIDE, compare

#: Score -> what it is called.
_SCORES = {"brightness": "mean brightness", "psnr": "PSNR in dB", "ssim": "SSIM",
           "gt_mean_psnr": "PSNR at the reference's brightness"}


class CompareTab:
    """The tab."""

    def __init__(self, desk: Desk):
        self.desk, self.studio = desk, desk.studio
        labels = model_labels(desk, (AS_IT_IS,))
        other = "supervised" if "supervised" in labels else AS_IT_IS
        with gr.Row():
            with gr.Column(min_width=300):
                photo = drop("Drop a photograph here", "compare")
            with gr.Column(min_width=300):
                reference = drop("If you have it: the same scene as it should look", "reference")
        with gr.Row():
            left = gr.Dropdown(labels, value=labels[0], label="To the left", elem_id="left", filterable=False)
            right = gr.Dropdown(labels, value=other, label="To the right", elem_id="right", filterable=False)
            start = button("Compare", "compare", main=True)
        scores = gr.HTML("", elem_id="scores")
        view = gr.HTML(nothing("Both results appear here, one over the other."), elem_id="compare-view")
        given = [photo, reference, left, right]
        for event in (start.click, photo.upload, reference.upload, left.input, right.input):
            event(told(self.compare), given, [view, scores])

    def compare(self, photo: Any, reference: Any, left: Any, right: Any) -> tuple[Any, Any]:
        """Both over each other, and a table of their numbers."""
        if not photo:
            return gr.skip(), gr.skip()
        wanted = tokens_of(reference)
        found = self.desk.do(compare, self.studio, token_of(photo), (AS_IT_IS, left, right),
                             wanted[0] if wanted else None)
        names = [name for name in _SCORES if name in found[0].scores]
        rows = [[one.label, *(f"{one.scores[name]:.2f}" if "psnr" in name else f"{one.scores[name]:.3f}"
                              for name in names)] for one in found]
        said = (f"At most {SIDE} pixels along a side; every model with its own settings. " + (
            "Higher is nearer to the reference." if wanted else "With a reference there are scores."))
        return (split(found[1].pixels, found[2].pixels, left=found[1].label, right=found[2].label, name="compare"),
                table(["", *(_SCORES[name] for name in names)], rows) + notes([said], "line"))
