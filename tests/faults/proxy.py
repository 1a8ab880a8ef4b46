"""A network that a test can break: a TCP proxy between one worker and Redis or RabbitMQ."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

# With this SO_LINGER a close sends RST instead of FIN.
_RST = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards to ``127.0.0.1:target`` and breaks as it is told.

    - ``hold()``: packets stop, both ways, without a word; what was sent arrives after ``heal()``, as TCP repeats it.
    - ``reset()``: every connection is reset, and new ones are refused.
    - ``half_open()``: the server's side of every connection ends; the client's side stays silent. New ones hang.
    - ``deafen()``: what the server says does not arrive, what it is told does. A connection that missed something
      hears nothing ever after.
    - ``heal()``: all is well; half-open and deaf connections stay as they are, as in life.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._silent: list[asyncio.StreamWriter] = []
        self._missed: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._refusing = self._deaf = False
        self._flowing = self._do(self._event())
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        self._call(self._flowing.clear)

    def reset(self) -> None:
        self._refusing = True
        self._call(self._reset_all)

    def half_open(self) -> None:
        self._call(self._flowing.clear)
        self._call(self._end_server_sides)

    def deafen(self) -> None:
        self._deaf = True

    def heal(self) -> None:
        self._refusing = self._deaf = False
        self._call(self._flowing.set)

    def close(self) -> None:
        self._call(self._server.close)
        self._call(self._reset_all)
        self._do(self._end_all())
        self._call(self._loop.stop)
        self._thread.join(5)

    # In the loop's thread

    @staticmethod
    async def _event() -> asyncio.Event:
        event = asyncio.Event()
        event.set()
        return event

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            self._rst(writer)
            return
        await self._flowing.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self._rst(writer)
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        await asyncio.gather(self._pump(reader, far_writer, pair), self._pump(far_reader, writer, pair))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: Any) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                if writer is pair[0] and (self._deaf or pair in self._missed):
                    self._missed.add(pair)
                    continue
                writer.write(data)
                await writer.drain()
            await self._flowing.wait()  # the end of a connection is a packet like any other
        except OSError:
            pass
        self._missed.discard(pair)
        if pair in self._pairs:
            self._pairs.discard(pair)
            for each in pair:
                each.close()

    async def _end_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _reset_all(self) -> None:
        for pair in list(self._pairs):
            for writer in pair:
                self._rst(writer)
        for writer in self._silent:
            self._rst(writer)
        self._pairs.clear()
        self._silent.clear()

    def _end_server_sides(self) -> None:
        for near, far in list(self._pairs):
            self._rst(far)
            self._silent.append(near)
        self._pairs.clear()

    @staticmethod
    def _rst(writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        if raw is not None and raw.fileno() != -1:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        writer.transport.abort()

    # From the test's thread

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)

    def _call(self, function: Any) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (function(), done.set()))
        done.wait(5)
