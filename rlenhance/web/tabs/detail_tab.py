"""The tabs that show a detail of a photograph at full resolution, before and after, and save the whole result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gradio as gr

from rlenhance.web.components import (
    LIVE,
    AppContext,
    button,
    photo_drop,
    place_of,
    require_token,
    show_errors,
    viewer,
)
from rlenhance.web.html import before_after, notes
from rlenhance.web.previews import Detail
from rlenhance.web.service import Result

_MIDDLE = (0.5, 0.5)


class DetailTab(ABC):
    """A photograph, a detail of it that follows the controls, and the whole result.

    Attributes:
        name: of the tab's elements.
        words: on the place where a photograph is dropped.
        before: what stands to the left of the result.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    before: ClassVar[str] = "Before"

    def __init__(self, context: AppContext):
        self.context, self.service = context, context.service
        place = gr.State(_MIDDLE)
        with gr.Row(elem_classes="workplace"):
            with gr.Column(elem_classes="stage"):
                photo = photo_drop(self.words, self.name)
                view = viewer(f"{self.name}-view")
                status = gr.HTML("", elem_id=f"{self.name}-status")
            with gr.Column(elem_classes="controls"):
                with gr.Row(elem_classes="actions"):
                    save = button("Save", f"{self.name}-save", main=True)
                saved = gr.HTML("", elem_id=f"{self.name}-saved")
                controls = self.make_controls()
        given, shown = [photo, place, *controls], [view, status]
        photo.upload(lambda: (_MIDDLE, ""), outputs=[place, saved]).then(
            show_errors(self.show), given, shown, show_progress_on=view)
        for part in controls:
            part.input(show_errors(self.show), given, shown, **LIVE)
        view.select(show_errors(self.look), given, [*shown, place], show_progress="hidden")
        save.click(show_errors(self.save), [photo, *controls], saved, show_progress_on=view)

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

    def show(self, photo: Any, place: tuple[float, float], *values: Any) -> tuple[Any, Any]:
        """The detail before and after, and the line below it."""
        if not photo:
            return gr.skip(), gr.skip()
        across, down = place
        detail = self.context.run(self.preview, require_token(photo), *values, across=across, down=down)
        found, (width, height) = detail.shown, detail.shown.size
        rows, columns = found.before.shape[:2]
        return (before_after(found.before, found.after, left=self.before, whole=found.size, part=found.part or (0, 0)),
                notes([f"{columns} × {rows} of {width} × {height} pixels; {detail.words}"], "line"))

    def look(self, event: gr.EventData, photo: Any, _: Any, *values: Any) -> tuple[Any, Any, Any]:
        """The detail that the picture was dragged to."""
        place = place_of(event) or _MIDDLE
        return *self.show(photo, place, *values), place

    def save(self, photo: Any, *values: Any) -> str:
        """The whole photograph, and the link that fetches it."""
        return self.describe(self.context.run(self.process, require_token(photo), *values))
