"""The tab for many photographs: the settings of the first tab for all, a gallery, and one archive to download."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.contact_sheet import thumbnail
from rlenhance.web.components import (
    MOST_PHOTOS,
    MY_LOOK,
    AppContext,
    Controls,
    button,
    link,
    photo_drop,
    show_errors,
)
from rlenhance.web.file_store import StoredFile, parse_tokens, unique_names
from rlenhance.web.html import before_after, grid, notes
from rlenhance.web.service import Result

#: The settings of the first tab, each photograph at the brightness that it needs unless one is set there.
AS_UNDER_ENHANCE = "as under Enhance"


class SeveralTab:
    """The tab; it uses the controls of the enhancement tab."""

    def __init__(self, context: AppContext, controls: Controls):
        self.context, self.service, self.controls = context, context.service, controls
        photos = photo_drop("Choose several photographs, or drop them or a folder here", "several", several=MOST_PHOTOS)
        with gr.Row(elem_classes="line-up"):
            self.chooses = gr.Dropdown([AS_UNDER_ENHANCE, MY_LOOK], value=AS_UNDER_ENHANCE, label="Settings",
                                       elem_id="several-chooses", filterable=False)
            start = button("Enhance all", "all", main=True)
        status, taken = gr.HTML("", elem_id="several-status"), gr.HTML("", elem_id="several-saved")
        gallery = gr.HTML("", elem_id="gallery")
        start.click(show_errors(self.enhance), [photos, self.chooses, *controls.all], [status, gallery, taken])

    def enhance(self, photos: Any, chooses: Any, *values: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Enhance one after the other; a failure is reported and the rest goes on."""
        if chooses == MY_LOOK:
            values = (*values[:-2], MY_LOOK, values[-1])
        request, tokens = self.controls.request(*values), parse_tokens(photos)
        if not tokens:
            raise UsageError("choose photographs first")
        if len(tokens) > MOST_PHOTOS:
            raise UsageError(f"{len(tokens)} photographs; {MOST_PHOTOS} at a time, please (rlenhance enhance FOLDER "
                             f"takes any number)")
        made: list[tuple[str, tuple[str, ...]]] = []
        files: list[StoredFile] = []
        failures: list[str] = []
        try:
            for done, token in enumerate(tokens, 1):
                try:
                    result: Result = self.context.queue.run_when_free(self.service.save, token, request)
                    files.append(result.file)
                    before, after = self.context.queue.run_when_free(self._both, token, result.file)
                    made.append((before_after(before, after, small=True), (result.file.name, *result.notes)))
                except UsageError as error:
                    failures.append(str(error))
                yield (notes([f"{done} of {len(tokens)} done"], "line") + notes(failures, "bad"),
                       grid(made, "several") if made else gr.skip(), "")
            package = self.context.queue.run_when_free(self._packed, files) if files else None
        finally:  # also where the page was left meanwhile
            for stored in files:
                self.service.store.remove(stored.token)
        if package is not None:
            yield gr.skip(), gr.skip(), link(Result(package), "Download all:")

    def _both(self, token: str, result: StoredFile) -> tuple[np.ndarray, np.ndarray]:
        """A photograph before and after, small."""
        before, after = (thumbnail(self.service.full_photo(stored).visible_pixels)
                         for stored in (self.service.store.get(token), result))
        return before, after

    def _packed(self, files: list[StoredFile]) -> StoredFile:
        """All results in one archive, with unique names."""
        store, names = self.service.store, unique_names([stored.name for stored in files])
        package = store.create("rlenhance.zip", ".zip")
        try:
            store.claim(package.token, sum(stored.path.stat().st_size + 2 * len(name.encode()) + 200
                                           for stored, name in zip(files, names, strict=True)))
            with zipfile.ZipFile(package.path, "w", zipfile.ZIP_STORED) as archive:
                for stored, name in zip(files, names, strict=True):
                    archive.write(stored.path, name)
        except BaseException:
            store.remove(package.token)
            raise
        return package
