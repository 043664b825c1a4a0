"""The address of a repository on a web server, taken apart. Pure.

Secrets in it (``https://user:password@host/``) go into a header and are in nothing else:
what is shown or sent on has none.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit

from rootman.errors import InvalidInput, Refused
from rootman.repo import layout

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_SCHEMES: Final = ("http", "https")
_REMOTE: Final = re.compile(r"https?://", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is.

    ``base`` is its URL without secrets and without a slash at the end, ``authorization``
    the header that the secrets make, ``version`` that of the release which was named.
    """

    base: str
    authorization: str | None = None
    version: int | None = None

    def url(self, path: str) -> str:
        """Return the URL of the file ``path`` of the repository."""
        return f"{self.base}/{path}"


def is_remote(location: str) -> bool:
    """Return whether ``location`` is on a web server, not in a folder."""
    return _REMOTE.match(location) is not None


def parse_address(location: str) -> Address:
    """Return the address that ``location`` is: a repository's, or a release's in one.

    Raises:
        InvalidInput: it is no such URL.
    """
    parts = _split(location, "the URL")
    if parts.query or parts.fragment:
        raise InvalidInput(f"{_without_secrets(parts)}: the URL of a repository has no ? and no #")
    folder, _, name = parts.path.rpartition("/")
    version = layout.parse_release_file(name)
    path = parts.path
    if version is not None and folder.endswith(f"/{layout.RELEASES}"):
        path = folder.removesuffix(layout.RELEASES)
    else:
        version = None
    base = _without_secrets(parts._replace(path=path.rstrip("/")))
    return Address(base, _authorization(parts), version)


def redirected(url: str, target: str) -> str:
    """Return where the answer for ``url`` leads by its ``target``.

    Raises:
        Refused: from a protected connection to one that is not.
        InvalidInput: it leads nowhere.
    """
    parts = _split(urljoin(url, target), f"{url}: where it is redirected to")
    if url.startswith("https:") and parts.scheme != "https":
        raise Refused(f"{url}: redirected to a connection without protection (http)")
    return parts._replace(netloc=_host(parts), fragment="").geturl()


def same_server(one: str, other: str) -> bool:
    """Return whether two URLs are of one server, which may see what the other does."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _split(location: str, what: str) -> SplitResult:
    try:
        if _PLAIN.fullmatch(location) is None:
            raise ValueError
        parts = urlsplit(location)
        good = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidInput(f"{what} is none: http://HOST/PATH or https://HOST/PATH are")
    return parts


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _without_secrets(parts: SplitResult) -> str:
    return parts._replace(netloc=_host(parts), query="", fragment="").geturl()


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
