"""The tab of model comparison on one photograph, with scores where a reference is given."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.web.components import AppContext, button, photo_drop, require_token, show_errors
from rlenhance.web.file_store import parse_tokens
from rlenhance.web.html import before_after, notes, table
from rlenhance.web.previews import SIDE, UNCHANGED, compare

#: Score -> what it is called.
_SCORES = {"brightness": "mean brightness", "psnr": "PSNR in dB", "ssim": "SSIM",
           "gt_mean_psnr": "PSNR at the reference's brightness"}


class CompareTab:
    """The tab."""

    def __init__(self, context: AppContext):
        self.context, self.service = context, context.service
        labels = [*self.service.choices, UNCHANGED]
        other = "supervised" if "supervised" in labels else UNCHANGED
        with gr.Row(elem_classes="workplace"):
            with gr.Column(elem_classes="stage"):
                photo = photo_drop("Choose a photograph, drop or paste it here", "compare")
                view = gr.HTML("", elem_id="compare-view")
            with gr.Column(elem_classes="controls"):
                with gr.Row(elem_classes="actions"):
                    start = button("Compare", "compare", main=True)
                left = gr.Dropdown(labels, value=labels[0], label="To the left", elem_id="left", filterable=False)
                right = gr.Dropdown(labels, value=other, label="To the right", elem_id="right", filterable=False)
                reference = photo_drop("If you have it: the same scene as it should look", "reference")
            with gr.Column(elem_classes="extras"):
                scores = gr.HTML("", elem_id="scores")
        given = [photo, reference, left, right]
        for event in (start.click, photo.upload, reference.upload, left.input, right.input):
            event(show_errors(self.compare), given, [view, scores])

    def compare(self, photo: Any, reference: Any, left: Any, right: Any) -> tuple[Any, Any]:
        """Both over each other, and a table of their numbers."""
        if not photo:
            return gr.skip(), gr.skip()
        wanted = parse_tokens(reference)
        found = self.context.run(compare, self.service, require_token(photo), (UNCHANGED, left, right),
                             wanted[0] if wanted else None)
        names = [name for name in _SCORES if name in found[0].scores]
        rows = [[one.label, *(f"{one.scores[name]:.2f}" if "psnr" in name else f"{one.scores[name]:.3f}"
                              for name in names)] for one in found]
        said = (f"At most {SIDE} pixels along a side; every model with its own settings. " + (
            "Higher is nearer to the reference." if wanted else "With a reference there are scores."))
        _, one, two = found
        return (before_after(one.pixels, two.pixels, left=one.label, right=two.label),
                table(["", *(_SCORES[name] for name in names)], rows) + notes([said], "line"))
