"""The web server of the page: assembled, started, and cleaned up."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import webbrowser
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.io.limits import missing_extra
from rlenhance.web.file_store import FileStore, StoredFile
from rlenhance.web.job_queue import JobQueue
from rlenhance.web.page_folder import page_folder
from rlenhance.web.security import App, SecurityMiddleware
from rlenhance.web.service import EnhanceService, Result


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        host, port: the address; port 0 is any free one.
        auth: name and password, or None.
        megabytes, megapixels: limits of a photograph.
        places: see `JobQueue`.
        minutes: unused files are removed after this time.
        model, runs, device: see `EnhanceService`.
        browser: open a browser.
        proxy: address of the proxy whose `X-Forwarded-For` and `X-Forwarded-Proto` count; None: they are not read.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    auth: tuple[str, str] | None = None
    megabytes: float = 100.0
    megapixels: float = 100.0
    places: int = 8
    minutes: float = 60.0
    model: str | None = None
    runs: Path | None = None
    device: str = "cpu"
    browser: bool = False
    proxy: str | None = None


def check_extra() -> None:
    """Check that Gradio is installed."""
    if find_spec("gradio") is None:
        raise missing_extra("the page", "demo")


def create_app(settings: Settings, folder: Path) -> tuple[App, EnhanceService, JobQueue]:
    """The application, its service and its job queue.

    Args:
        folder: for temporary files.

    Raises:
        UsageError: no model, or no Gradio.
    """
    check_extra()
    store = FileStore(folder / "files", minutes=settings.minutes)
    queue = JobQueue(settings.places, discard=partial(_discard, store))
    service = EnhanceService(store, model=settings.model, runs=settings.runs, megapixels=settings.megapixels,
                             device=settings.device, aside=queue.aside)
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1",
                      GRADIO_TEMP_DIR=str(folder / "gradio"))  # before Gradio is imported
    import gradio as gr
    from fastapi import FastAPI

    from rlenhance.web.api import Api
    from rlenhance.web.components import AppContext
    from rlenhance.web.event_check import EventCheck
    from rlenhance.web.page import build, theme_options

    api = Api(service, queue, {name: getattr(settings, name) for name in ("megabytes", "megapixels", "places",
                                                                          "minutes")})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        task = asyncio.create_task(_sweep(service.store))
        yield
        task.cancel()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan, routes=api.routes())
    page = build(AppContext(service, queue))
    page.state_session_capacity = 64
    page.has_launched = True  # as launch() does: Gradio's own check of files is off in a page that is mounted
    page.queue(max_size=4 * settings.places, default_concurrency_limit=None)
    app = gr.mount_gradio_app(app, page, "/", show_error=False, ssr_mode=False, mcp_server=False, run_history=False,
                              enable_monitoring=False, footer_links=[], max_file_size=1, **theme_options())
    guarded = SecurityMiddleware(app, host=settings.host, auth=settings.auth, megabytes=settings.megabytes,
                                 check_event=EventCheck(page), proxied=settings.proxy is not None)
    return guarded, service, queue


def _discard(store: FileStore, result: object) -> None:
    """Remove a result that nobody waits for any more."""
    file = result.file if isinstance(result, Result) else result
    if isinstance(file, StoredFile):
        store.remove(file.token)


def serve(settings: Settings) -> None:
    """Serve the page until it is stopped; its files are removed at the end."""
    check_extra()
    bound = _bound(settings.host, settings.port)
    address = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{bound.getsockname()[1]}"
    with bound, page_folder() as folder:
        app, _, queue = create_app(settings, folder)
        import uvicorn

        from rlenhance.web.http_protocol import LimitedProtocol

        proxies = () if settings.proxy is None else (settings.proxy,)
        protocol = type("Protocol", (LimitedProtocol,), {"proxies": proxies})
        server = uvicorn.Server(uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=3,
            http=protocol, ws="none", proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies)))
        print(f"the page: {address} (Ctrl-C stops it)", flush=True)
        if settings.browser:
            webbrowser.open(address)
        try:
            server.run(sockets=[bound])
        finally:
            queue.close()


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, so that answers leave at once
    if sys.platform != "win32":
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host.strip("[]"), port))
        found.listen(128)  # clients that connect during start-up wait
    except (OSError, OverflowError) as error:
        found.close()
        raise UsageError(f"{host}:{port}: nobody can listen there ({error}); choose another host or port "
                         f"(0: any that is free)") from error
    return found


async def _sweep(store: FileStore) -> None:
    """Remove old files once a minute."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(60)
            store.remove_expired()
