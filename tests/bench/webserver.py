"""The servers that peers download from: Apache for those of HTTP, and the daemon of rsync."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HERE: Final = "127.0.0.1"
_PATIENCE: Final = 20  # seconds
_APACHE: Final = """
ServerRoot "{home}"
ServerName {here}
Listen {here}:{port}
PidFile "{home}/pid"
ErrorLog "{home}/log"
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User www-data
Group www-data
DocumentRoot "{folder}"
KeepAlive On
MaxKeepAliveRequests 0
<Location "/">
    Require all granted
</Location>
"""
_RSYNC: Final = """
use chroot = no
address = {here}
port = {port}
uid = root
gid = root
[tree]
path = {folder}
read only = yes
"""


@contextmanager
def apache(folder: Path) -> Iterator[int]:
    """Serve the files of ``folder`` by HTTP; yield the port.

    Raises:
        RuntimeError: there is no such server, or it does not start.
    """
    command = ("/usr/sbin/apache2", "-D", "FOREGROUND", "-f")
    with _running(command, _APACHE, folder) as port:
        yield port


@contextmanager
def rsync_daemon(folder: Path) -> Iterator[int]:
    """Serve the files of ``folder`` to rsync as the module ``tree``; yield the port.

    Raises:
        RuntimeError: there is no rsync, or it does not start.
    """
    command = ("rsync", "--daemon", "--no-detach", "--config")
    with _running(command, _RSYNC, folder) as port:
        yield port


@contextmanager
def _running(command: Sequence[str], configuration: str, folder: Path) -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="rootman-bench-") as home:
        port = _free_port()
        file, errors = Path(home, "configuration"), Path(home, "errors")
        file.write_text(configuration.format(here=_HERE, port=port, home=home, folder=folder))
        with errors.open("w") as log:
            process = subprocess.Popen([*command, str(file)], stdin=subprocess.DEVNULL, stderr=log)
        try:
            _wait_for(process, port, errors)
            yield port
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HERE, 0))
        return int(probe.getsockname()[1])


def _wait_for(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection((_HERE, port), _PATIENCE).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not serve: {errors.read_text().strip()}")
