"""Requests over HTTP(S) to whom the answer is owed: with patience, and with bounds.

One ``Transport`` keeps the connections of a command and is used by several threads. What
may pass (a refused connection, a timeout, a server with too much to do) is a ``Passing``,
and whoever asked asks again after ``pause``; everything else is an error at once. Out of
scope: what is asked for, and going on in the middle of it (``http``).
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Timeout, make_headers, parse_url
from urllib3.util.ssl_ import create_urllib3_context

from rootman import VERSION
from rootman.document import show
from rootman.errors import InvalidInput, Unreachable
from rootman.repo.address import redirected, same_server
from rootman.repo.paced import Pace, TooMuch, TooSlow, pools

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from urllib3 import PoolManager
    from urllib3.response import HTTPResponse

_PACE: Final = Pace(4096, 60)
_REDIRECTS: Final = 5
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_BUSY: Final = frozenset({408, 425, 429})
_REASON_LENGTH: Final = 120


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what; times in seconds.

    ``connect`` is for a connection, ``read`` for the next byte; ``pace`` is the slowest
    that is worth waiting for. After ``tries`` in a row that got nothing new it is given
    up; between them the pause is ``first_pause`` and twice as long each time, to at most
    ``longest_pause``, of which a random part is waited. A server may ask for more, to
    ``longest_wish``.
    """

    connect: float = 10
    read: float = 30
    pace: Pace = _PACE
    tries: int = 5
    first_pause: float = 0.5
    longest_pause: float = 15
    longest_wish: float = 60


class Passing(Exception):
    """A failure that may pass. ``wish`` is how long the server asked to wait, in seconds."""

    def __init__(self, reason: str, wish: float | None = None) -> None:
        super().__init__(reason)
        self.wish = wish


class Stopped(Exception):
    """The transport was closed while somebody waited."""


class Transport:
    """The connections to all servers of a command, ``lanes`` to each at a time."""

    def __init__(self, patience: Patience, lanes: int) -> None:
        self.patience = patience
        self._lanes = lanes
        self._managers: dict[tuple[str | None, bool], PoolManager] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        """Return the answer for ``url``, its content not read yet; redirects are followed.

        Raises:
            Passing: it may be there later.
            Refused, InvalidInput: it leads where it must not.
            Unreachable: it cannot be had.
        """
        asked, target = dict(headers), url
        for _ in range(_REDIRECTS + 1):
            response = self._ask(target, asked)
            if response.status not in _MOVED or "Location" not in response.headers:
                return response
            response.close()
            before, target = target, redirected(target, response.headers["Location"])
            if not same_server(before, target):
                asked.pop("Authorization", None)
        raise Unreachable(f"{url}: redirected more than {_REDIRECTS} times")

    def pause(self, failures: int, wish: float | None) -> None:
        """Wait after so many ``failures`` in a row.

        Raises:
            Stopped: the transport was closed meanwhile.
        """
        patience = self.patience
        most = min(patience.first_pause * 2 ** (failures - 1), patience.longest_pause)
        seconds = random.uniform(most / 2, most)  # noqa: S311  no secret: spreads the load
        if wish is not None:
            seconds = max(seconds, min(wish, patience.longest_wish))
        if self._stopped.wait(seconds):
            raise Stopped

    def close(self) -> None:
        """End all connections, also under who waits for an answer; safe to call twice."""
        self._stopped.set()
        with self._lock:
            for one in list(self._sockets):
                with suppress(OSError):
                    one.shutdown(2)
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()

    def _ask(self, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        try:
            return self._manager(url).urlopen(
                "GET",
                url,
                headers={
                    "User-Agent": f"rootman/{VERSION}",
                    "Accept-Encoding": "identity",
                    **headers,
                },
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as error:
            raise self.failure(url, error) from error

    def failure(self, url: str, error: BaseException) -> Passing | Unreachable:
        """Return what an error of the connection for ``url`` is to us."""
        if self._stopped.is_set():
            return Unreachable(f"{url}: given up")
        if isinstance(error, SSLError):
            for cause in _causes(error):
                if isinstance(cause, ValueError):  # as those about certificates are
                    reason = getattr(cause, "verify_message", "it is another server's")
                    return Unreachable(
                        f"{url}: the server's certificate: {show(reason)[:_REASON_LENGTH]}",
                        hint="check the clock; SSL_CERT_FILE names a CA of your own",
                    )
        return Passing(self._reason(error))

    def _reason(self, error: BaseException) -> str:
        patience = self.patience
        for cause in _causes(error):
            match cause:
                case ConnectTimeoutError() if not isinstance(cause, NewConnectionError):
                    return f"no connection within {patience.connect:g} s"
                case TooSlow():
                    pace = patience.pace
                    return f"less than {pace.bytes} bytes came in {pace.seconds:g} s"
                case TooMuch():
                    return "what it sends has no end"
                case ReadTimeoutError() | TimeoutError():
                    return f"nothing came for {patience.read:g} s"
                case OSError() if cause.strerror:
                    via = "the proxy: " if isinstance(error, ProxyError) else ""
                    return show(via + cause.strerror)[:_REASON_LENGTH]
        return show(str(error))[:_REASON_LENGTH]

    def _manager(self, url: str) -> PoolManager:
        """Return the connections for ``url``: its own, or those of the proxy for it."""
        proxy = _proxy(url)
        secure = url.startswith("https:") or (proxy or "").startswith("https:")
        with self._lock:
            if self._stopped.is_set():
                raise Unreachable(f"{url}: given up")
            if (proxy, secure) not in self._managers:
                self._managers[proxy, secure] = self._make_manager(proxy, secure=secure)
            return self._managers[proxy, secure]

    def _make_manager(self, proxy: str | None, *, secure: bool) -> PoolManager:
        patience = self.patience
        options: dict[str, Any] = {
            "num_pools": 8,
            "maxsize": self._lanes,
            "timeout": Timeout(connect=patience.connect, read=patience.read),
        }
        if secure:  # to read all certificates takes as long as some requests
            options["ssl_context"] = _verifying()
        if proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            secret = parse_url(proxy).auth
            headers = make_headers(proxy_basic_auth=secret) if secret else None
            manager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
        manager.pool_classes_by_scheme = pools(patience.pace, self._sockets.add)
        return manager


def _verifying() -> ssl.SSLContext:
    """Return what all connections have in common; the certificates are read only once."""
    context: ssl.SSLContext = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_default_certs()
    return context  # the name in a certificate is compared by urllib3, also where it is an IP


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for ``url``."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # a tenth of all that is imported

    parts = parse_url(url)
    proxies = getproxies()
    found = proxies.get(parts.scheme or "", proxies.get("all"))
    if not found or proxy_bypass(parts.netloc or ""):
        return None
    if "://" not in found:
        found = f"http://{found}"
    if not found.startswith(("http://", "https://")):
        raise InvalidInput(
            f"{parts.scheme}_proxy: not a proxy that can be used", hint="http://HOST:PORT"
        )
    return found


def _causes(error: BaseException) -> list[BaseException]:
    """Return ``error`` and all that it came from, the innermost first."""
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            pending += [*one.args, one.__cause__, one.__context__]
    return found[::-1]


def status_text(status: int) -> str:
    """Return what the number of an answer means."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def is_passing(status: int) -> bool:
    """Return whether an answer with this number may be another one later."""
    return status in _BUSY or status >= 500
