"""The page's server: Python's own, for the visitors of this machine. A real site does the same in its own framework."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks import GPUS, image_gen_1, image_gen_2, image_gen_3

BUTTONS = {"1": (image_gen_1, 2.0), "2": (image_gen_2, 3.0), "3": (image_gen_3, 4.0)}
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/visitors.js": ("visitors.js", "text/javascript; charset=utf-8"),
    "/visitors.css": ("visitors.css", "text/css; charset=utf-8"),
}
HEARTBEAT = 10.0  # seconds without news after which something is sent all the same, to see whether anybody listens
MOST_RESULTS = 10_000


class Page:
    """The server, in a thread of its own; used as `with serve(port) as page`."""

    def __init__(self, port: int, speed: float) -> None:
        self.speed = speed
        self.closing = threading.Event()
        self._results: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (_Handler,), {"page": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Page:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.socket.close()
        self._thread.join(5)

    def wait(self) -> None:
        """Wait until the page is closed."""
        while not self.closing.wait(0.5):
            pass

    def press(self, button: str, prompt: str) -> str:
        """Publish a task; return its id."""
        task, seconds = BUTTONS[button]
        result = task.delay(prompt, seconds / self.speed)
        with self._lock:
            self._results[result.id] = result
            while len(self._results) > MOST_RESULTS:
                self._results.popitem(last=False)
        return str(result.id)

    def result(self, task_id: str) -> Any:
        """Return the result of a task that was published here, or None."""
        return self._results.get(task_id)


def serve(port: int = 0, speed: float = 1.0) -> Page:
    """Return a page on a port of this machine; 0 is any that is free."""
    return Page(port, speed)


class _Handler(BaseHTTPRequestHandler):
    page: Page

    def do_GET(self) -> None:
        if not self._is_for_us():
            return
        if self.path in FILES:
            name, kind = FILES[self.path]
            self._answer(HTTPStatus.OK, kind, (Path(__file__).parent / name).read_bytes())
            return
        match = re.fullmatch(r"/events/([0-9a-f-]{36})", self.path)
        result = self.page.result(match[1]) if match else None
        if result is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here")
        else:
            self._follow(result)

    def do_POST(self) -> None:
        if not self._is_for_us():
            return
        match = re.fullmatch(r"/press/([123])", self.path)
        # A form of another site cannot send this type without asking first.
        if not match or self.headers.get_content_type() != "application/json":
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here")
            return
        try:
            prompt = json.loads(self.rfile.read(min(int(self.headers["Content-Length"]), 2000)))["prompt"]
        except (KeyError, TypeError, ValueError):
            prompt = None
        if not isinstance(prompt, str) or not 1 <= len(prompt) <= 100:
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", b"a prompt of 1 to 100 characters is missing")
            return
        task_id = self.page.press(match[1], prompt)
        self._answer(HTTPStatus.OK, "application/json", json.dumps({"id": task_id}).encode())

    def _follow(self, result: Any) -> None:
        """Send the task's place in line, whenever it changes, as server-sent events; then its result."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        try:
            while not self.page.closing.is_set():
                for position in result.positions(interval=0.25, timeout=HEARTBEAT):
                    event = {**asdict(position), "gpus": GPUS}
                    if position.state == "done":
                        event["picture"] = result.result if result.successful() else None
                    self._send(f"data: {json.dumps(event)}\n\n")
                    if position.state == "done":
                        return
                    if self.page.closing.is_set():
                        return
                self._send(": still here\n\n")
        except OSError:
            pass  # the visitor has left

    def _send(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def _is_for_us(self) -> bool:
        """Whether the browser means this server by its name: another site's name may lead here, too."""
        if (self.headers.get("Host") or "").rpartition(":")[0] in ("127.0.0.1", "localhost"):
            return True
        self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this page is for visitors of this machine")
        return False

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src data:")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for the demo."""
