"""A small web server for a repository: to try one out, and for tests.

Files are served whole or from a byte on (Range), on connections that are kept. Out of
scope: protection and load; any web server does better.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

from rootman.errors import InvalidInput, SystemFailure
from rootman.repo import layout
from rootman.repo.folder import FolderSource, find_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN: Final = frozenset({layout.TEMPORARY, layout.LOCK})
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?")
_IDLE: Final = 60  # seconds that a connection is kept without a request


class Server(ThreadingHTTPServer):
    """Serves one repository; ``url`` is where, ``is_signed`` whether it can be trusted."""

    daemon_threads = True
    is_signed = False

    @property
    def url(self) -> str:
        """The address to give to ``rootman upgrade``."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


@contextmanager
def serving(repository: str, address: str, port: int) -> Iterator[Server]:
    """Have a server for the folder ``repository`` that listens; port 0 means any.

    Raises:
        NotFound, InvalidInput: there is no repository.
        SystemFailure: nobody can listen there.
    """
    path, version = find_folder(repository)
    if version is not None:
        raise InvalidInput(f"{repository}: name the repository, not a release in it")
    source = FolderSource(path, repository)
    try:
        source.open(layout.REPOSITORY).close()
        try:
            server = Server((address, port), partial(Handler, source))
        except OSError as error:
            raise SystemFailure(
                f"{address}:{port}: {error.strerror}", hint="another --port"
            ) from error
        server.is_signed = os.path.isdir(f"{path}/{layout.METADATA}")
        with server:
            yield server
    finally:
        source.close()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    # An answer in few packets, and none of them waited for.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def __init__(self, source: FolderSource, *args: Any) -> None:  # noqa: ANN401
        self._source = source
        super().__init__(*args)

    def do_GET(self) -> None:
        """Send a file, or the rest of it."""
        file = self._find()
        if file is None:
            self._refuse(404)
            return
        with file, suppress(ConnectionError):
            self._send(file)

    def do_HEAD(self) -> None:
        """Say how long a file is."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Say nothing: whoever tries a repository out looks at the other side."""

    def _find(self) -> BinaryIO | None:
        """Return the file that is asked for, None where there is none for readers."""
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        parts = path.split("/")
        if parts[0] in _OWN or not all(parts) or any(one in (".", "..") for one in parts):
            return None
        try:
            return self._source.open(path)
        except (InvalidInput, SystemFailure, ValueError):
            return None

    def _send(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        tag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
        start, end = self._range(status.st_size, tag)
        if start > end or (start == end and start):
            self._refuse(416, f"bytes */{status.st_size}")
            return
        whole = (start, end) == (0, status.st_size)
        self.send_response(200 if whole else 206)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        if not whole:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{status.st_size}")
        self.end_headers()
        if self.command == "GET":
            file.seek(start)
            self._copy(file, end - start)

    def _copy(self, file: BinaryIO, size: int) -> None:
        left = size
        while left and (data := file.read(min(left, 1 << 18))):
            self.wfile.write(data)
            left -= len(data)
        if left:
            self.close_connection = True  # it is shorter now than was said

    def _range(self, size: int, tag: str) -> tuple[int, int]:
        """Return the bytes that are asked for: from the first to before the second."""
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None or self.headers.get("If-Range", tag) != tag:
            return 0, size
        return int(match[1]), min(int(match[2] or size) + 1, size)

    def _refuse(self, status: int, extent: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if extent:
            self.send_header("Content-Range", extent)
        self.end_headers()
