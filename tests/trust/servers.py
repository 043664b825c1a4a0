"""A web server in a process of its own, on the loopback alone."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def serve(folder: Path, log: Path) -> Iterator[str]:
    """Serve ``folder``, the requests told in the file ``log``; give the URL."""
    command = (sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0")
    with (
        log.open("wb") as requests,
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=requests, text=True
        ) as server,
    ):
        assert server.stdout is not None
        try:
            port = server.stdout.readline().split(" port ")[1].split()[0]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
