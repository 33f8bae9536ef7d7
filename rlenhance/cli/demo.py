"""`rlenhance demo`: the web page, for people who do not type commands."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    demo = commands.add_parser(
        "demo", help="open the web page (needs the extra demo)",
        description="Serve a web page on this machine: drop a photograph, move sliders, save; several at once, grain, "
                    "models side by side, training runs. It uses the same Enhancer as the command line and needs no "
                    "network; photographs stay on this machine, and in its memory or a temporary folder alone. "
                    "Ctrl-C stops it.",
    )
    demo.add_argument("-m", "--model", metavar="NAME|RUN/best", help="the default model (default: the shipped one, or "
                                                                     "the newest run)")
    demo.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR",
                      help="folder of training runs to show and to use as models (default: runs, where it is)")
    demo.add_argument("--port", type=int, default=7860, help="where to listen; 0: any that is free (default: 7860)")
    demo.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                      help="0.0.0.0 serves other machines too, and needs --auth (default: this machine alone)")
    demo.add_argument("--auth", metavar="USER:PASSWORD|@FILE",
                      help="require a name and a password; @FILE: a file with that line in it")
    demo.add_argument("--proxy", nargs="?", const="127.0.0.1", metavar="ADDRESS",
                      help="the page is behind a proxy at this address (default: 127.0.0.1), which names whose request "
                           "it passes on (X-Forwarded-For); without this option that header is not read")
    demo.add_argument("--max-megabytes", type=float, default=100, metavar="N",
                      help="largest file that comes in (default: 100)")
    demo.add_argument("--max-megapixels", type=float, default=100, metavar="N",
                      help="refuse larger photographs by their header (default: 100)")
    demo.add_argument("--queue", type=int, default=8, metavar="N",
                      help="pictures in work or waiting; further ones are refused as busy (default: 8)")
    demo.add_argument("--keep-minutes", type=float, default=60, metavar="N",
                      help="remove files that were not used for so long (default: 60)")
    demo.add_argument("--device", default="cpu", help="cpu, cuda, mps, or auto: the best that is there (default: cpu)")
    demo.add_argument("--open", action="store_true", help="open it in a browser")


def run(arguments: argparse.Namespace) -> int:
    """Serve it until it is stopped."""
    from rlenhance.web.security import is_loopback
    from rlenhance.web.server import Settings, check_extra, serve

    check_extra()
    for word in ("max_megabytes", "max_megapixels", "keep_minutes"):
        if not getattr(arguments, word) > 0:
            raise UsageError(f"--{word.replace('_', '-')} must be above 0; got {getattr(arguments, word):g}")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port must lie between 0 and 65535; got {arguments.port}")
    if arguments.queue < 1:
        raise UsageError(f"--queue must be at least 1; got {arguments.queue}")
    if arguments.proxy is not None:
        try:
            ipaddress.ip_address(arguments.proxy)
        except ValueError as error:
            raise UsageError(f"--proxy takes the address of the proxy, as in 127.0.0.1; got {arguments.proxy!r}") \
                from error
    auth = read_auth(arguments.auth)
    if auth is None and not is_loopback(arguments.host):
        raise UsageError(f"--host {arguments.host} lets other machines in: set a password with --auth USER:PASSWORD "
                         f"(or --auth @FILE)")
    runs = arguments.runs if os.path.isdir(arguments.runs) else None
    serve(Settings(arguments.host, arguments.port, auth, arguments.max_megabytes, arguments.max_megapixels,
                   arguments.queue, arguments.keep_minutes, arguments.model, runs, arguments.device, arguments.open,
                   arguments.proxy))
    return 0


def read_auth(word: str | None) -> tuple[str, str] | None:
    """Name and password from USER:PASSWORD, or from the first line of a file, as @FILE.

    Raises:
        UsageError: anything else.

    Example:
        >>> read_auth("anna:secret")
        ('anna', 'secret')
    """
    if word is None:
        return None
    if word.startswith("@"):
        try:
            if os.path.exists(word[1:]) and not os.path.isfile(word[1:]):  # a pipe waits, /dev/zero has no end
                raise OSError(errno.EINVAL, "no regular file")
            with open(word[1:], encoding="utf-8") as file:
                text = file.readline(10_000).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"--auth {word}: cannot be read ({why}); it takes USER:PASSWORD, or @FILE with that "
                             f"line in it") from error
    else:
        text = word
    name, _, password = text.partition(":")
    if not name or not password:
        raise UsageError("--auth takes USER:PASSWORD, or @FILE with that line in it; got neither")
    return name, password
