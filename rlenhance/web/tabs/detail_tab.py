"""The tabs that show a detail of a photograph at full resolution, before and after, and save the whole result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gradio as gr

from rlenhance.web.components import (
    LIVE,
    AppContext,
    button,
    number,
    photo_drop,
    placeholder,
    require_token,
    show_errors,
    slider,
)
from rlenhance.web.html import before_after, notes
from rlenhance.web.previews import Detail
from rlenhance.web.service import Result


class DetailTab(ABC):
    """A photograph, a detail of it that follows the controls, and the whole result.

    Attributes:
        name: of the tab's elements.
        words: on the place where a photograph is dropped.
    """

    name: ClassVar[str]
    words: ClassVar[str]

    def __init__(self, context: AppContext):
        self.context, self.service = context, context.service
        photo = photo_drop(self.words, self.name)
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                view = gr.HTML(placeholder("A detail appears here, pixel for pixel, before and after."),
                               elem_id=f"{self.name}-view")
                status = gr.HTML("", elem_id=f"{self.name}-status")
                save = button("Save in full size", f"{self.name}-save", main=True)
                saved = gr.HTML("", elem_id=f"{self.name}-saved")
            with gr.Column(scale=2, min_width=300):
                controls = self.make_controls()
                places = [slider(0, 1, 0.5, step=0.01, label=f"Look farther {way}", elem_id=f"{self.name}-{side}")
                          for way, side in (("left or right", "across"), ("up or down", "down"))]
        given, shown = [photo, *controls, *places], [view, status]
        photo.upload(show_errors(self.show), given, shown).then(lambda: "", outputs=saved)
        for part in (*controls, *places):
            part.input(show_errors(self.show), given, shown, **LIVE)
        save.click(show_errors(self.save), given, saved)

    @abstractmethod
    def make_controls(self) -> list[Any]:
        """The parts whose values `preview` and `process` are given."""

    @abstractmethod
    def preview(self, token: str, *values: Any, across: float, down: float) -> Detail:
        """A part of a photograph, before and after."""

    @abstractmethod
    def process(self, token: str, *values: Any) -> Result:
        """The whole photograph."""

    @abstractmethod
    def describe(self, result: Result) -> str:
        """What is shown of a result that was saved, as HTML."""

    def show(self, photo: Any, *values: Any) -> tuple[Any, Any]:
        """The detail before and after, and the line below it."""
        if not photo:
            return gr.skip(), gr.skip()
        *own, across, down = values
        found = self.context.run(self.preview, require_token(photo), *own, across=number(across, "Left or right"),
                                 down=number(down, "Up or down"))
        (width, height), (rows, columns) = found.shown.size, found.shown.before.shape[:2]
        return (before_after(found.shown.before, found.shown.after, name=self.name),
                notes([f"{columns} × {rows} of {width} × {height} pixels; {found.words}"], "line"))

    def save(self, photo: Any, *values: Any) -> str:
        """The whole photograph, and the link that fetches it."""
        return self.describe(self.context.run(self.process, require_token(photo), *values[:-2]))
