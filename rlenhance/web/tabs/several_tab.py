"""The tab for many photographs: the look of the first tab for all of them, a gallery, and one file to take away."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.io.contact_sheet import CELL, fitted
from rlenhance.web.components import Controls, Desk, button, drop, link, nothing, told
from rlenhance.web.file_store import Kept, apart, tokens_of
from rlenhance.web.html import data_uri, figures, notes
from rlenhance.web.service import Result

#: Photographs at a time.
MOST = 100


class SeveralTab:
    """The tab.

    Args:
        desk: does the work. controls: of the look.
    """

    def __init__(self, desk: Desk, controls: Controls):
        self.desk, self.studio, self.controls = desk, desk.studio, controls
        gr.HTML(notes(["All photographs get the look that is set under Enhance, each at the brightness that it "
                       "needs, unless a brightness is set there."], "line"))
        photos = drop("Drop several photographs here, or press to choose them", "several", several=True)
        start = button("Enhance all of them", "all", main=True)
        status, taken = gr.HTML("", elem_id="several-status"), gr.HTML("", elem_id="several-saved")
        gallery = gr.HTML(nothing("The results appear here, one by one."), elem_id="gallery")
        start.click(told(self.enhance), [photos, *controls.all], [status, gallery, taken])

    def enhance(self, photos: Any, *values: Any) -> Iterator[tuple[Any, Any, Any]]:
        """One after the other; what fails is named and the rest goes on."""
        look, tokens = self.controls.look(*values), tokens_of(photos)
        if not tokens:
            raise UsageError("choose photographs first")
        if len(tokens) > MOST:
            raise UsageError(f"{len(tokens)} photographs; {MOST} at a time, please (rlenhance enhance FOLDER takes any "
                             f"number)")
        made: list[tuple[str, tuple[str, ...]]] = []
        files: list[Kept] = []
        failures: list[str] = []
        for done, token in enumerate(tokens, 1):
            try:
                result: Result = self.desk.line.do_patiently(self.studio.save, token, look)
                files.append(result.file)
                small = self.desk.line.do_patiently(self._small, result.file)
                made.append((data_uri(small, 85), (result.file.name, *result.notes)))
            except UsageError as error:
                failures.append(str(error))
            yield (notes([f"{done} of {len(tokens)} done"], "line") + notes(failures, "bad"),
                   figures(made) if made else gr.skip(), "")
        if files:
            yield gr.skip(), gr.skip(), link(Result(self.desk.line.do_patiently(self._packed, files)), "Download all:")

    def _small(self, kept: Kept) -> Any:
        return fitted(self.studio.whole(kept).pixels, CELL)

    def _packed(self, files: list[Kept]) -> Kept:
        """All results in one file, names kept apart; the single ones are removed."""
        package = self.studio.shelf.new("rlenhance.zip", ".zip")
        with zipfile.ZipFile(package.path, "w", zipfile.ZIP_STORED) as archive:
            for kept, name in zip(files, apart([kept.name for kept in files]), strict=True):
                archive.write(kept.path, name)
        for kept in files:
            self.studio.shelf.drop(kept.token)
        return package
