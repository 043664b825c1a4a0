"""urllib3 connections that neither wait for ever nor read for ever.

A timeout of a socket is about one read: a server that sends a byte now and then never
meets it, nor does one that sends headers without end. Here all that is read passes a
``_Pace``, which knows how much came in the time that was spent on waiting for it.
"""

from __future__ import annotations

import http.client
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# What an answer may have besides its content: headers, and the lines around chunks.
_OVERHEAD: Final = 1 << 18
_CHUNKED: Final = 16  # bytes on the wire for one of content, in the smallest chunks


class TooSlow(OSError):
    """Less came than a server at work would send."""


class TooMuch(OSError):
    """An answer that does not come to its content, or to its end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """At least ``bytes`` in each ``seconds`` that were spent on waiting."""

    bytes: int
    seconds: float


class _Paced(io.RawIOBase):
    """Passes on what ``raw`` reads, while it comes at the pace and is allowed."""

    def __init__(self, raw: io.RawIOBase, pace: Pace) -> None:
        self._raw = raw
        self._pace = pace
        self._waited = 0.0
        self._came = 0
        self.allowance = _OVERHEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  as the base class
        began = time.monotonic()
        count = cast("int | None", self._raw.readinto(buffer))
        self._waited += time.monotonic() - began
        self._came += count or 0
        self.allowance -= count or 0
        if self.allowance < 0:
            raise TooMuch
        if self._waited >= self._pace.seconds:
            if self._came < self._pace.bytes:
                raise TooSlow
            self._waited, self._came = 0.0, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def pools(pace: Pace, on_connect: Callable[[socket.socket], None]) -> dict[str, type]:
    """Return the classes of connection pools, by scheme, whose connections keep to ``pace``.

    ``on_connect`` gets the socket of each connection that is made.
    """

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            super().__init__(sock, *args, **kwargs)
            self._paced = _Paced(self.fp.detach(), pace)
            self.fp = io.BufferedReader(self._paced)

        def read(self, amt: int | None = None) -> bytes:
            self._paced.allowance = _OVERHEAD + _CHUNKED * (amt or 0)
            return super().read(amt)

    class Plain(HTTPConnection):
        response_class = Response

        def connect(self) -> None:
            super().connect()
            on_connect(self.sock)

    class Protected(HTTPSConnection):
        response_class = Response

        def connect(self) -> None:
            super().connect()
            on_connect(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class ProtectedPool(HTTPSConnectionPool):
        ConnectionCls = Protected

    return {"http": PlainPool, "https": ProtectedPool}
