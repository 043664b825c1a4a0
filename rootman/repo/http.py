"""A repository on a web server.

Nothing that comes from there is trusted, and nothing is waited for without end
(``transport``). A file that breaks off goes on where it was: objects never change.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from rootman.delta import LANES
from rootman.document import SIZE_LIMIT
from rootman.errors import InvalidInput, Unreachable
from rootman.repo import layout
from rootman.repo.index import parse_index
from rootman.repo.source import Alone, Missing, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3.response import HTTPResponse

    from rootman.repo.address import Address
    from rootman.repo.transport import Patience, Transport

# Less than this between two interruptions is no progress.
_PROGRESS: Final = 1 << 16
_SKIP: Final = 1 << 16
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_NO_RANGE: Final = re.compile(r"bytes \*/([0-9]{1,18})")
_GONE: Final = frozenset({404, 410})


class HttpSource(Alone):
    """The files of the repository at ``address``, by ``LANES`` requests at a time."""

    def __init__(self, address: Address, patience: Patience | None = None) -> None:
        from rootman.repo.transport import Patience, Transport

        self._address = address
        self._transport = Transport(patience or Patience(), LANES)

    @property
    def location(self) -> str:
        """The URL without secrets."""
        return self._address.base

    @property
    def is_near(self) -> bool:
        """A server is not: what is read from it is worth keeping."""
        return False

    @property
    def is_complete(self) -> bool:
        """Every manifest and object is there by itself."""
        return True

    def name_of(self, path: str) -> str:
        """Return the URL of the file ``path``."""
        return self._address.url(path)

    def versions(self) -> list[int]:
        """Return the versions that the index lists, in ascending order."""
        return parse_index(self.read(layout.INDEX, SIZE_LIMIT), self.name_of(layout.INDEX))

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole of the small file ``path``."""
        data = bytearray()
        with self.open(path) as file:
            while chunk := file.read(min(limit + 1 - len(data), _SKIP)):
                data += chunk
                if len(data) > limit:
                    raise InvalidInput(f"{self.name_of(path)}: larger than {limit} bytes")
        return bytes(data)

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Return the file ``path`` open for reading, from the byte ``offset`` on."""
        url = self.name_of(path)
        file = _Download(self._transport, url, offset, self._address.authorization)
        file.begin()
        return cast("BinaryIO", file)

    def close(self) -> None:
        """End all connections."""
        self._transport.close()


class _Download(Reading):
    """One file of a server, read from ``position`` on; what breaks off goes on there."""

    def __init__(
        self, transport: Transport, url: str, position: int, authorization: str | None
    ) -> None:
        self._transport = transport
        self._url = url
        self._position = position
        self._authorization = authorization
        self._response: HTTPResponse | None = None
        self._end: int | None = None  # where the file ends, if the server said so
        self._validator = ""
        self._failures = 0
        self._failed_at = position

    @property
    def whole_size(self) -> int | None:
        return self._end

    def begin(self) -> None:
        """Have an answer whose content can be read.

        Raises:
            Missing: there is no such file.
            RootmanError: it cannot be had.
        """
        from rootman.repo.transport import Passing

        while self._response is None:
            try:
                self._response = self._ask()
            except Passing as trouble:
                self._suffer(trouble)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  as the base class
        from rootman.repo.transport import Passing

        while True:
            self.begin()
            try:
                data = self._read(len(buffer))
            except Passing as trouble:
                self._suffer(trouble)
                continue
            buffer[: len(data)] = data
            return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        from urllib3.exceptions import HTTPError

        from rootman.repo.transport import Passing

        response = self._response
        if response is None or self._position == self._end:
            return b""
        try:
            data: bytes = response.read(size)
        except (HTTPError, OSError, ValueError) as error:
            raise self._transport.failure(self._url, error) from error
        self._position += len(data)
        if self._end is not None and self._position > self._end:
            raise InvalidInput(f"{self._url}: longer than the server said")
        if not data and self._end is not None:
            raise Passing(f"broke off after {self._position} of {self._end} bytes")
        return data

    def _ask(self) -> HTTPResponse:
        response = self._transport.get(self._url, self._headers())
        try:
            self._accept(response)
        except BaseException:
            response.close()
            raise
        return response

    def _headers(self) -> Mapping[str, str]:
        headers = {}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
            if self._validator:
                headers["If-Range"] = self._validator
        return headers

    def _accept(self, response: HTTPResponse) -> None:
        """Take ``response`` for the rest of the file, read up to the position."""
        headers = response.headers
        if response.status == 416 and (
            size := _NO_RANGE.fullmatch(headers.get("Content-Range", ""))
        ):
            self._end = int(size[1])
            self._refuse_shorter()
            return  # the end was all that was missing
        if response.status not in (200, 206):
            raise self._refusal(response)
        if headers.get("Content-Encoding", "identity") != "identity":
            raise Unreachable(f"{self._url}: comes in an encoding that was not asked for")
        start, self._end = self._extent(response)
        self._refuse_shorter()
        tag = headers.get("ETag", "")
        self._validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
        for at in range(start, self._position, _SKIP):
            self._skip(response, min(_SKIP, self._position - at))

    def _refuse_shorter(self) -> None:
        """Refuse a file that ends before what is here of it: that is of another one."""
        if self._end is not None and self._end < self._position:
            raise InvalidInput(
                f"{self._url}: has {self._end} bytes, of which {self._position} are here already"
            )

    def _skip(self, response: HTTPResponse, size: int) -> None:
        from urllib3.exceptions import HTTPError

        from rootman.repo.transport import Passing

        try:
            left = size - len(response.read(size))
        except (HTTPError, OSError, ValueError) as error:
            raise self._transport.failure(self._url, error) from error
        if left:
            raise Passing(f"broke off before the byte {self._position}")

    def _extent(self, response: HTTPResponse) -> tuple[int, int | None]:
        """Return where the content of ``response`` begins, and where the file ends if known."""
        if response.status == 200:
            length = response.headers.get("Content-Length", "")
            return 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != self._position:
            raise Unreachable(f"{self._url}: sends another range than was asked for")
        return self._position, int(match[2]) + 1

    def _refusal(self, response: HTTPResponse) -> Exception:
        from rootman.repo.transport import Passing, is_passing, status_text

        answer = status_text(response.status)
        if response.status in _GONE:
            self._read_out(response)
            return Missing(f"{self._url} is missing ({answer})")
        if is_passing(response.status):
            wish = response.headers.get("Retry-After", "")
            return Passing(f"the server says {answer}", int(wish[:9]) if wish.isdecimal() else None)
        return Unreachable(f"{self._url}: the server says {answer}")

    def _read_out(self, response: HTTPResponse) -> None:
        """Have the connection of a short answer, such as that there is no pack, used again."""
        from urllib3.exceptions import HTTPError

        with suppress(HTTPError, OSError, ValueError):
            if len(response.read(_SKIP)) < _SKIP:
                response.release_conn()

    def _suffer(self, trouble: Exception) -> None:
        """Wait after ``trouble``, or give up.

        Raises:
            Unreachable: it happened too often, and nothing new came.
        """
        from rootman.repo.transport import Passing, Stopped

        self._drop()
        if self._position - self._failed_at >= _PROGRESS:
            self._failures = 0
        self._failed_at = self._position
        self._failures += 1
        tries = self._transport.patience.tries
        if self._failures >= tries:
            raise Unreachable(
                f"{self._url}: {trouble} (tried {tries} times)",
                hint="try again later, or name another server: --mirror URL",
            ) from trouble
        wish = trouble.wish if isinstance(trouble, Passing) else None
        try:
            self._transport.pause(self._failures, wish)
        except Stopped as stopped:
            raise Unreachable(f"{self._url}: given up") from stopped

    def _drop(self) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        if self._position == self._end and not response.closed:
            response.release_conn()
        else:
            response.close()
