"""The tab of completion: a mask detected, painted or uploaded, and the result next to the input."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.web.complete_service import before_after, complete, completion_methods, mark
from rlenhance.web.components import (
    AppContext,
    KeptSettings,
    button,
    link,
    photo_drop,
    require_token,
    show_errors,
)
from rlenhance.web.file_store import parse_tokens
from rlenhance.web.html import brush, data_uri, figures, notes

#: Before the event is sent: what was painted, or "" where the mark is as the page made it.
_PAINTED = "(photo, mask, filler, found, _) => [photo, mask, filler, found, window.paintedMask('painting')]"


class CompleteTab:
    """The tab."""

    def __init__(self, context: AppContext, page: gr.Blocks):
        self.context, self.service = context, context.service
        self.methods = completion_methods(context.service.runs)
        with gr.Row(elem_classes="workplace"):
            with gr.Column(elem_classes="stage"):
                photo = photo_drop("Choose a photograph with a hole, or with something that must go", "complete")
                painting = gr.HTML("", elem_id="painting")
                said = gr.HTML("", elem_id="complete-status")
            with gr.Column(elem_classes="controls"):
                with gr.Row(elem_classes="actions"):
                    start = button("Fill it", "fill", main=True)
                    find = button("Find black holes", "find")
                method = gr.Dropdown(list(self.methods), label="How to fill", elem_id="filler", filterable=False)
                mask = photo_drop("A mask, if you have one: white where it is filled", "mask")
            with gr.Column(elem_classes="extras"):
                result = gr.HTML("", elem_id="completed")
        painted, found = gr.Textbox("", visible=False), gr.State(False)
        KeptSettings(page, "complete", [method])
        # One event: a second one that clears the result would also clear that of a quick press of the button.
        photo.upload(show_errors(self.begin), photo, [painting, said, found, mask, result])
        find.click(show_errors(self.find), photo, [painting, said, found, mask])
        mask.upload(show_errors(self.mask), [photo, mask], [painting, said, found])
        start.click(show_errors(self.complete), [photo, mask, method, found, painted], result, js=_PAINTED)

    def begin(self, photo: Any) -> tuple[str, str, bool, str, str]:
        """The photograph to paint on; nothing is marked yet, and there is no result and no mask of another."""
        shown = self.context.run(mark, self.service, require_token(photo))
        words = ("Paint over what is to be filled (with the keyboard: arrows move the brush, Space paints), or press "
                 "Find black holes.")
        return brush(shown.picture), notes([words], "line"), False, "", ""

    def find(self, photo: Any) -> tuple[str, str, bool, str]:
        """The photograph with the black rectangles in it marked, in the place of what was painted."""
        shown = self.context.run(mark, self.service, require_token(photo), find=True)
        words = "What was found is marked; paint to change what is filled."
        return brush(shown.picture, shown.hole), notes([words], "line"), True, ""

    def mask(self, photo: Any, mask: Any) -> tuple[str, str, bool]:
        """The photograph with a mask's white marked on it."""
        shown = self.context.run(mark, self.service, require_token(photo), require_token(mask))
        return brush(shown.picture, shown.hole), notes(["The mask is marked."], "line"), False

    def complete(self, photo: Any, mask: Any, method: Any, found: bool, painted: Any) -> str:
        """Input and result beside each other, and the link to the whole."""
        if method not in self.methods:
            raise UsageError(f"nothing fills holes under the name {method!r}; there are {', '.join(self.methods)}")
        token, masks = require_token(photo), parse_tokens(mask)
        if not (painted or masks or found):
            raise UsageError("nothing is marked: paint over what is to be filled, or press Find black holes")
        result = self.context.run(complete, self.service, token, self.methods[method],
                              painted=painted if isinstance(painted, str) else "", mask=masks[0] if masks else None)
        try:
            before, after = self.context.run(before_after, self.service, token, result)
        except BaseException:  # nobody gets a link to it
            self.service.store.remove(result.file.token)
            raise
        name = self.service.store.get(token).name
        return figures([(data_uri(before), (name,)), (data_uri(after), (result.file.name,))], "pair fresh") + link(
            result, "Download in full size:", fresh=False)
