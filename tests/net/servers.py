"""Web servers in processes of their own, that can be told to misbehave.

They listen on 127.0.0.1 only and die with their context, or with the test.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from rootman.repo.address import parse_address
from rootman.repo.folder import FolderSource
from rootman.repo.http import HttpSource
from rootman.repo.paced import Pace
from rootman.repo.serving import Handler, Server
from rootman.repo.transport import Patience

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    Fault = Callable[["Scripted", int], bool]
    """Answers a request, the so-manieth for its path from 0, or returns False."""

_PR_SET_PDEATHSIG: Final = 1
# Fails soon, and not before a loaded machine answers.
IMPATIENT: Final = Patience(5, 2, Pace(50_000, 1), 3, 0.01, 0.02, 0.05)


class Scripted(Handler):
    """A server's side of a connection: what ``fault`` does not answer is answered properly."""

    def __init__(self, fault: Fault, log: str, counts: Counter[str], *args: Any) -> None:  # noqa: ANN401
        self._fault = fault
        self._log = log
        self._counts = counts
        super().__init__(*args)

    def do_GET(self) -> None:  # noqa: N802  the name http.server calls
        wanted = self.headers.get("Range", "-")
        with _LOCK:
            count = self._counts[self.path]
            self._counts[self.path] += 1
            with open(self._log, "a", encoding="utf-8") as log:
                log.write(f"{self.path} {wanted} {self.client_address[1]}\n")
        if not self._fault(self, count):
            super().do_GET()

    def do_CONNECT(self) -> None:  # noqa: N802
        """Be a proxy: carry whatever comes between the two, without a look at it."""
        with _LOCK, open(self._log, "a", encoding="utf-8") as log:
            log.write(f"{self.path} - {self.client_address[1]}\n")
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            self.say(200)
            self.wfile.flush()
            ways = {self.connection: far, far: self.connection}
            while True:
                for one in select.select(list(ways), [], [])[0]:
                    data = one.recv(1 << 16)
                    if not data:
                        self.close_connection = True
                        return
                    ways[one].sendall(data)

    def say(self, status: int, **headers: object) -> None:
        """Begin an answer; ``Content_Length`` becomes Content-Length."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def break_off(self) -> None:
        """Close the connection as it is."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def content(self) -> bytes:
        """Return the file that was asked for."""
        file = self._find()
        assert file is not None
        with file:
            return file.read()


_LOCK = threading.Lock()


class WebServer:
    """A server at work; ``log`` has a line for each request."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    @property
    def requests(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [line.split()[0] for line in self._lines()]

    @property
    def ranges(self) -> list[str]:
        """What of them was asked for, in order; ``-`` is the whole."""
        return [line.split()[1] for line in self._lines()]

    @property
    def connections(self) -> int:
        """How many connections were used."""
        return len({line.split()[2] for line in self._lines()})

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def source(self, patience: Patience = IMPATIENT) -> HttpSource:
        return HttpSource(parse_address(self.url), patience)


class _Quiet(Server):
    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that the other side breaks, which is what is tried."""


def no_fault(_handler: Scripted, _count: int) -> bool:
    return False


def _close_all_but(*kept: int) -> None:
    """Close what came from the test: a child of it may wait for the end of a pipe."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    ends = sorted({2, *kept})
    for low, high in zip(ends, [*ends[1:], 65536], strict=True):
        os.closerange(low + 1, high)


@contextmanager
def web_server(
    repo: Path, fault: Fault = no_fault, tls: ssl.SSLContext | None = None
) -> Iterator[WebServer]:
    """Have a server for the repository ``repo``."""
    with TemporaryDirectory() as home:
        log = Path(home) / "log"
        log.touch()
        source = FolderSource(str(repo), str(repo))
        handler = partial(Scripted, fault, str(log), Counter(), source)
        server = _Quiet(("127.0.0.1", 0), handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _close_all_but(server.fileno(), source._fd)
                if os.getppid() == parent:
                    server.serve_forever()
            finally:
                os._exit(0)
        try:
            server.server_close()
            source.close()
            url = server.url if tls is None else server.url.replace("http:", "https:")
            yield WebServer(url, log)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
