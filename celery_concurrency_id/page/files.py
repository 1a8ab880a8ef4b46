"""The page itself: files of the package, as they are."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from .http import Refused, Request, Response

__all__ = ("file_at",)

#: By path, so that no path of a request ever becomes one of the file system.
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = files(__package__).joinpath("static").joinpath(name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:20]}"'


def file_at(request: Request) -> Response:
    """Return the file at a request's path.

    Raises:
        Refused: There is none.
    """
    if request.path not in _FILES:
        raise Refused(404, "there is no such page")
    name, kind = _FILES[request.path]
    content, tag = _read(name)
    kept = request.header("If-None-Match") == tag
    headers = (("ETag", tag), ("Cache-Control", "private, no-cache"))  # kept, but asked for each time
    return Response(b"" if kept else content, kind, 304 if kept else 200, *headers)
