"""HTTP routes: upload and download of the page, and `/api` for programs (docs/howto/web_page.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.io.containers import CONTAINERS, container_by_extension, sniff
from rlenhance.pipelines.options import AUTO, PREFERENCES, DenoiseSettings, EnhanceSettings, flags_of, parse_value
from rlenhance.pipelines.presets import shipped_presets
from rlenhance.web.complete_service import complete, completion_methods
from rlenhance.web.file_store import StoredFile
from rlenhance.web.job_queue import JobQueue, QueueFull
from rlenhance.web.previews import denoise
from rlenhance.web.service import EnhanceRequest, EnhanceService, Result

#: Preferences and settings of requests, by the name of their field.
FIELDS = {about.flag.lstrip("-"): about for kind in (DenoiseSettings, EnhanceSettings) for about in flags_of(kind)}
#: Fields of each route.
ENHANCE = ("name", "model", "preset", "strength", "denoise", "format", "strip",
           *(about.flag.lstrip("-") for about in PREFERENCES.values()))
DENOISE = ("name", "noise", "strength")
COMPLETE = ("name", "model")
T = TypeVar("T")


class Api:
    """The routes; `limits` of files and jobs ("megabytes", "megapixels", ...) are those that `/api` states."""

    def __init__(self, service: EnhanceService, queue: JobQueue, limits: Mapping[str, float]):
        self.service, self.queue, self.limits = service, queue, dict(limits)
        self.methods = list(completion_methods(service.runs).values())

    def routes(self) -> list[BaseRoute]:
        """The routes for Starlette."""
        ways = {"/upload": self.upload, "/api/enhance": self.enhance, "/api/denoise": self.denoise,
                "/api/complete": self.complete}
        return [*(Route(path, json_errors(way), methods=["POST"]) for path, way in ways.items()),
                Route("/take/{token}", json_errors(self.take), methods=["GET"]),
                Route("/api", json_errors(self.about), methods=["GET"])]

    async def about(self, _: Request) -> Response:
        """Models, presets, limits and fields."""
        models = {choice.model: {"takes": choice.ranges, "auto": choice.auto}
                  for choice in self.service.choices.values()}
        return JSONResponse({
            "rlenhance": __version__, "models": models, "default": self.service.default.model,
            "presets": {preset.name: preset.about for preset in shipped_presets()}, "limits": self.limits,
            "POST /api/enhance": list(ENHANCE),
            "POST /api/denoise": list(DENOISE), "POST /api/complete": list(COMPLETE),
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
        return await self._answer(stored, self.service.save, stored.token, wanted,
                                  command=wanted.command(stored.name))

    async def denoise(self, request: Request) -> Response:
        """Denoise a photograph as `rlenhance denoise` does."""
        words = _words(request, DENOISE)
        settings = DenoiseSettings(**_settings(words, ("noise", "strength")))
        stored = await self.receive(request, words.get("name", "picture"))
        return await self._answer(stored, denoise, self.service, stored.token, settings)

    async def complete(self, request: Request) -> Response:
        """Complete a photograph as `rlenhance complete` does: a form with `picture` and `mask`, or a picture alone."""
        words = _words(request, COMPLETE)
        method = _one_of("model", words.get("model", self.methods[0]), {name: name for name in self.methods})
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            stored, mask = await self.receive(request, words.get("name", "picture")), None
        else:
            async with request.form(max_files=2, max_fields=2) as form:
                parts = [form.get(name) for name in ("picture", "mask")]
                if not all(isinstance(part, UploadFile) for part in parts):
                    raise UsageError("the form holds two files, picture and mask")
                stored, mask = [self.keep(await part.read(), part.filename) for part in parts]  # type: ignore[union-attr]
        try:
            return await self._answer(stored, complete, self.service, stored.token, method, mask=mask and mask.token)
        finally:
            if mask:
                self.service.store.remove(mask.token)

    def parse_enhance(self, words: Mapping[str, str]) -> EnhanceRequest:
        """The request of the fields of `ENHANCE`."""
        preset = _one_of("preset", words["preset"], {preset.name: preset for preset in shipped_presets()}) \
            if "preset" in words else None
        choice = _one_of("model", words.get("model", self.service.default.model),
                         {choice.model: choice for choice in self.service.choices.values()})
        preference = {**(preset.preference if preset else {}), **_settings(words, PREFERENCES)}
        settings = _settings(words, ("strength", "denoise"))
        if preset and preset.strength is not None:
            settings.setdefault("strength", preset.strength)
        strip = _one_of("strip", words.get("strip", "0"), {"0": False, "1": True})
        return EnhanceRequest(EnhanceSettings(preference=preference, **settings), choice.asked, strip,
                              words.get("format"))

    async def receive(self, request: Request, name: str) -> StoredFile:
        """Store the body of a request; a body that is no image is refused by its first bytes."""
        stored = self.service.store.create(name)
        try:
            start = b""
            with stored.path.open("wb") as file:
                async for chunk in request.stream():
                    start += chunk[: 4096 - len(start)]
                    file.write(chunk)
            return self._checked(stored, start)
        except (UsageError, ClientDisconnect):
            self.service.store.remove(stored.token)
            raise

    def keep(self, data: bytes | str, name: str | None) -> StoredFile:
        """Store bytes in the same way."""
        stored = self.service.store.create(name or "picture")
        data = data.encode() if isinstance(data, str) else data
        stored.path.write_bytes(data)
        try:
            return self._checked(stored, data[:4096])
        except UsageError:
            self.service.store.remove(stored.token)
            raise

    def _checked(self, stored: StoredFile, start: bytes) -> StoredFile:
        kind = sniff(start, stored.name)
        if container_by_extension(stored.name) is None:  # results need an extension
            return self.service.store.rename(stored, stored.name + CONTAINERS[kind.name].extensions[0])
        return stored

    async def _answer(self, stored: StoredFile, work: Any, *words: Any, command: str = "", **named: Any) -> Response:
        try:
            result: Result = await run_in_threadpool(self.queue.run, work, *words, **named)
        finally:
            self.service.store.remove(stored.token)
        headers = {"x-notes": json.dumps(result.notes)} if result.notes else {}
        if command:
            headers["x-command"] = quote(command, safe=" '/-.:=")
        return FileResponse(result.file.path, filename=result.file.name, media_type="application/octet-stream",
                            headers=headers, background=BackgroundTask(self.service.store.remove, result.file.token))


def json_errors(way: Any) -> Any:
    """A route that answers UsageErrors as JSON: status 400, and 429 where the queue is full."""
    async def answer(request: Request) -> Response:
        try:
            return await way(request)
        except QueueFull as error:
            return JSONResponse({"error": str(error)}, 429, headers={"retry-after": "5"})
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)

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
