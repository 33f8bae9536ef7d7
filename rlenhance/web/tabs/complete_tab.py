"""The tab that fills holes: found, painted with a brush or given as a mask; the result stands beside the input."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.web.complete_service import beside, fill, fillers, mark
from rlenhance.web.components import Desk, button, drop, link, nothing, token_of, told
from rlenhance.web.file_store import tokens_of
from rlenhance.web.html import brush, data_uri, figures, notes

#: Before the event is sent: what was painted, or "" where the mark is as the page made it.
_PAINTED = "(photo, mask, filler, _) => [photo, mask, filler, window.paintedMask('painting')]"


class CompleteTab:
    """The tab."""

    def __init__(self, desk: Desk):
        self.desk, self.studio = desk, desk.studio
        self.fillers = fillers(desk.studio.runs)
        with gr.Row():
            with gr.Column(min_width=300):
                photo = drop("Drop a photograph with a hole, or with something that must go", "complete")
            with gr.Column(min_width=300):
                mask = drop("If you have it: a mask of its size, white where it is filled", "mask")
        painting = gr.HTML(nothing("The photograph appears here; paint over what is to be filled."),
                           elem_id="painting")
        said = gr.HTML("", elem_id="complete-status")
        with gr.Row():
            filler = gr.Dropdown(list(self.fillers), label="How to fill", elem_id="filler", filterable=False)
            find = button("Find black holes", "find")
            start = button("Fill it", "fill", main=True)
        result = gr.HTML("", elem_id="completed")
        painted = gr.Textbox("", visible=False)
        photo.upload(told(self.mark), photo, [painting, said]).then(lambda: ("", ""), outputs=[result, mask])
        find.click(told(self.find), photo, [painting, said, mask])
        mask.upload(told(self.mask), [photo, mask], [painting, said])
        start.click(told(self.fill), [photo, mask, filler, painted], result, js=_PAINTED)

    def mark(self, photo: Any) -> tuple[str, str]:
        """The photograph to paint on, with the black hole that is found in it."""
        found = self.desk.do(mark, self.studio, token_of(photo))
        text = "A black hole was found and is marked; paint to change what is filled." if found.hole is not None else \
            "Paint over what is to be filled. (With the keyboard: arrows move the brush, Space paints.)"
        return brush(found.picture, found.hole), notes([text], "line")

    def find(self, photo: Any) -> tuple[str, str, str]:
        """The same, once more, without what was painted.

        Raises:
            UsageError: there is none.
        """
        found = self.desk.do(mark, self.studio, token_of(photo))
        if found.hole is None:
            raise UsageError("no black rectangle is found in the photograph; paint over what is to be filled")
        return brush(found.picture, found.hole), notes(["The black hole is marked."], "line"), ""

    def mask(self, photo: Any, mask: Any) -> tuple[str, str]:
        """The photograph with a mask's white marked on it."""
        found = self.desk.do(mark, self.studio, token_of(photo), token_of(mask))
        return brush(found.picture, found.hole), notes(["The mask is marked."], "line")

    def fill(self, photo: Any, mask: Any, filler: Any, painted: Any) -> str:
        """Input and result beside each other, and the link to the whole."""
        if filler not in self.fillers:
            raise UsageError(f"nothing fills holes under the name {filler!r}; there are {', '.join(self.fillers)}")
        token, masks = token_of(photo), tokens_of(mask)
        result = self.desk.do(fill, self.studio, token, self.fillers[filler],
                              painted=painted if isinstance(painted, str) else "", mask=masks[0] if masks else None)
        before, after = self.desk.do(beside, self.studio, token, result)
        name = self.studio.shelf.find(token).name
        return figures([(data_uri(before), (name,)), (data_uri(after), (result.file.name,))], "pair") + link(
            result, "Download in full size:", fresh=False)
