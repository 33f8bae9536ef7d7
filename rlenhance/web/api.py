"""HTTP routes: upload and download of the page, and `/api` for programs (docs/howto/web_page.md)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import naming, parse_json
from rlenhance.io.containers import CONTAINERS, container_by_extension, sniff
from rlenhance.pipelines.looks import look_from_json, shipped_presets
from rlenhance.pipelines.options import (
    AUTO,
    PREFERENCES,
    DenoiseSettings,
    EnhanceSettings,
    RestoreSettings,
    flags_of,
    parse_value,
)
from rlenhance.web.complete_service import complete, completion_methods
from rlenhance.web.file_store import FileStore, StoredFile
from rlenhance.web.job_queue import JobQueue, QueueFull
from rlenhance.web.previews import process
from rlenhance.web.service import EnhanceRequest, EnhanceService, Result

#: Preferences and settings of requests, by the name of their field.
FIELDS = {about.flag.lstrip("-"): about for kind in (DenoiseSettings, RestoreSettings, EnhanceSettings)
          for about in flags_of(kind)}
#: Fields of each route.
ENHANCE = ("name", "model", "preset", "look", "strength", "denoise", "white", "format", "strip",
           *(about.flag.lstrip("-") for about in PREFERENCES.values()))
DENOISE = ("name", "noise", "strength")
RESTORE = ("name", "budget", "steps", "strength")
COMPLETE = ("name", "model", "mask")
T = TypeVar("T")


class Api:
    """The routes; `limits` of files and jobs ("megabytes", "megapixels", ...) are those that `/api` states."""

    def __init__(self, service: EnhanceService, queue: JobQueue, limits: Mapping[str, float]):
        self.service, self.queue, self.limits = service, queue, dict(limits)
        self.methods = list(completion_methods(service.runs).values())

    def routes(self) -> list[BaseRoute]:
        """The routes for Starlette."""
        ways = {"/upload": self.upload, "/api/enhance": self.enhance, "/api/denoise": self.denoise,
                "/api/complete": self.complete, "/api/restore": self.restore}
        return [*(Route(path, json_errors(way), methods=["POST"]) for path, way in ways.items()),
                Route("/take/{token}", json_errors(self.take), methods=["GET"]),
                Route("/api", json_errors(self.about), methods=["GET"])]

    async def about(self, _: Request) -> Response:
        """Models, presets, limits and fields."""
        models = {choice.model: {"takes": choice.ranges, "auto": choice.auto}
                  for choice in self.service.choices.values()}
        return JSONResponse({
            "rlenhance": __version__, "models": models, "default": self.service.default.model,
            "presets": {preset.name: preset.use for preset in shipped_presets()}, "limits": self.limits,
            "POST /api/enhance": list(ENHANCE),
            "POST /api/denoise": list(DENOISE), "POST /api/complete": list(COMPLETE),
            "POST /api/restore": list(RESTORE),
            "fillers": self.methods})

    async def upload(self, request: Request) -> Response:
        """Store a file of the page; answers its token."""
        stored = await self.receive(request, request.query_params.get("name", "picture"))
        return JSONResponse({"token": stored.token, "name": stored.name})

    async def take(self, request: Request) -> Response:
        """Download a result."""
        stored = self.service.store.get(request.path_params["token"])
        return FileResponse(stored.path, filename=stored.name, media_type="application/octet-stream",
                            headers={"cache-control": "no-store"})

    async def enhance(self, request: Request) -> Response:
        """Enhance a photograph; answers the file that `rlenhance enhance` writes."""
        words = _words(request, ENHANCE)
        wanted = self.parse_enhance(words)
        stored = await self.receive(request, words.get("name", "picture"))
        return await self._answer((stored,), self.service.save, stored.token, wanted,
                                  command=wanted.command(stored.name))

    async def denoise(self, request: Request) -> Response:
        """Denoise a photograph as `rlenhance denoise` does."""
        words = _words(request, DENOISE)
        settings = DenoiseSettings(**_settings(words, ("noise", "strength")))
        stored = await self.receive(request, words.get("name", "picture"))
        return await self._answer((stored,), process, self.service, stored.token, settings)

    async def restore(self, request: Request) -> Response:
        """Repair a photograph as `rlenhance restore` does; the header x-words says what was done."""
        words = _words(request, RESTORE)
        settings = RestoreSettings(**_settings(words, ("budget", "steps", "strength")))
        stored = await self.receive(request, words.get("name", "picture"))
        return await self._answer((stored,), process, self.service, stored.token, settings)

    async def complete(self, request: Request) -> Response:
        """Complete a photograph as `rlenhance complete` does: a form with `picture` and `mask`, or a picture alone with
        mask=auto, whose black rectangles are the holes."""
        words = _words(request, COMPLETE)
        method = _one_of("model", words.get("model", self.methods[0]), {name: name for name in self.methods})
        form = request.headers.get("content-type", "").startswith("multipart/form-data")
        if "mask" in words:
            _one_of("mask", words["mask"], {"auto": True})
        if form == ("mask" in words):
            raise UsageError("what is to be filled is either of: a form with the files picture and mask (white is "
                             "filled), or a picture alone and mask=auto, which finds black rectangles")
        if not form:
            stored = await self.receive(request, words.get("name", "picture"))
            return await self._answer((stored,), complete, self.service, stored.token, method)
        files = await self.receive_form(request, ("picture", "mask"))
        picture, mask = files
        return await self._answer(files, complete, self.service, picture.token, method, mask=mask.token)

    def parse_enhance(self, words: Mapping[str, str]) -> EnhanceRequest:
        """The request of the fields of `ENHANCE`; `look` is the text of a look's file."""
        preset = _one_of("preset", words["preset"], {preset.name: preset for preset in shipped_presets()}) \
            if "preset" in words else None
        models = {choice.model: choice for choice in self.service.choices.values()}
        choice = _one_of("model", words.get("model", self.service.default.model), models)
        chosen, settings = _settings(words, PREFERENCES), _settings(words, ("strength", "denoise", "white"))
        preference = {**(preset.settings.preference if preset else {}), **chosen}
        if preset:
            settings.setdefault("strength", preset.settings.strength)
            if "exposure_level" not in chosen:
                settings["exposure_shift"] = preset.settings.exposure_shift
        strip = _one_of("strip", words.get("strip", "0"), {"0": False, "1": True})
        if "look" in words:
            if preset:
                raise UsageError("look and preset both choose the settings; leave one out")
            with naming(Path("look")):
                look = look_from_json(parse_json(words["look"], "the text"))
            model = choice if "model" in words else _one_of("model of the look", look.model, models)
            return EnhanceRequest(EnhanceSettings(preference=preference, **settings), model.asked, strip,
                                  words.get("format"), look.changed({"preference": preference, **settings}))
        return EnhanceRequest(EnhanceSettings(preference=preference, **settings), choice.asked, strip,
                              words.get("format"))

    async def receive(self, request: Request, name: str) -> StoredFile:
        """Store the body of a request; a body that is no image is refused by its first bytes."""
        return await self.keep(request.stream(), name)

    async def receive_form(self, request: Request, names: tuple[str, ...]) -> tuple[StoredFile, ...]:
        """Store the files of a form, which counts among the files while it arrives."""
        kept: list[StoredFile] = [self.service.store.create("form")]
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await request.receive()
            size += len(message.get("body", b""))
            self.service.store.claim(kept[0].token, size)
            return message

        try:
            async with Request(request.scope, counted).form(max_files=len(names), max_fields=2) as form:
                parts = [form.get(name) for name in names]
                if not all(isinstance(part, UploadFile) for part in parts):
                    raise UsageError(f"the form holds {len(names)} files, {' and '.join(names)}")
                for part in parts:
                    kept.append(await self.keep(_chunks(part), part.filename or "picture"))  # type: ignore[arg-type, union-attr]
        except HTTPException as error:  # no whole form
            self._remove(kept)
            raise UsageError(f"the form cannot be read ({error.detail}); send it as multipart/form-data") from error
        except BaseException:
            self._remove(kept)
            raise
        self._remove(kept[:1])
        return tuple(kept[1:])

    async def keep(self, chunks: AsyncIterator[bytes], name: str) -> StoredFile:
        """Store bytes while they arrive; room is claimed before they are written."""
        stored, start, size = self.service.store.create(name), b"", 0
        try:
            with stored.path.open("wb") as file:
                async for chunk in chunks:
                    start += chunk[: 4096 - len(start)]
                    size += len(chunk)
                    self.service.store.claim(stored.token, size)
                    file.write(chunk)
            kind = sniff(start, stored.name)
            if container_by_extension(stored.name) is None:  # results need an extension
                stored = self.service.store.rename(stored, stored.name + CONTAINERS[kind.name].extensions[0])
            return stored
        except BaseException as error:
            self._remove([stored])
            if isinstance(error, OSError):
                raise UsageError(f"{stored.name}: cannot be stored ({error.strerror}); try again later") from error
            raise

    def _remove(self, files: Iterable[StoredFile]) -> None:
        for stored in files:
            self.service.store.remove(stored.token)

    async def _answer(self, files: Sequence[StoredFile], work: Any, *words: Any, command: str = "",
                      **named: Any) -> Response:
        """The result of a job, which is removed when it was sent; its files are removed as soon as it is made."""
        try:
            result: Result = await run_in_threadpool(self.queue.run, work, *words, **named)
        finally:
            self._remove(files)
        headers = {"x-notes": json.dumps(result.notes)} if result.notes else {}
        if result.words:
            headers["x-words"] = result.words
        if command:
            headers["x-command"] = quote(command, safe=" '/-.:=")
        return SentOnce(self.service.store, result.file, headers)


class SentOnce(FileResponse):
    """A file of the store that is removed when it was sent, or could not be."""

    def __init__(self, store: FileStore, stored: StoredFile, headers: Mapping[str, str]):
        super().__init__(stored.path, filename=stored.name, media_type="application/octet-stream", headers=headers)
        self._store, self._token = store, stored.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._store.remove(self._token)


async def _chunks(part: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await part.read(1 << 20):
        yield chunk


def json_errors(way: Any) -> Any:
    """A route that answers UsageErrors as JSON: status 400, and 429 where the queue is full."""
    async def answer(request: Request) -> Response:
        try:
            return await way(request)
        except QueueFull as error:
            return JSONResponse({"error": str(error)}, 429, headers={"retry-after": "5"})
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody

    return answer


def _one_of(field: str, value: str, known: Mapping[str, T]) -> T:
    if value not in known:
        raise UsageError(f"{field} is one of {', '.join(known)}; got {value!r}")
    return known[value]


def _words(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    words = dict(request.query_params)
    unknown = [word for word in words if word not in known]
    if unknown:
        raise UsageError(f"{request.url.path} takes {', '.join(known)}; got {', '.join(map(repr, unknown))}")
    return words


def _settings(words: Mapping[str, str], names: Iterable[str]) -> dict[str, Any]:
    """The settings or preferences of a request, "auto" as None."""
    found: dict[str, Any] = {}
    for field, about in FIELDS.items():
        if about.name in names and field in words:
            try:
                value = parse_value(about, words[field])
            except UsageError as error:
                raise UsageError(f"{field}: {error}") from error
            found[about.name] = None if value == AUTO else value
    return found
