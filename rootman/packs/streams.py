"""The streams of a pack, decompressed as their bytes are asked for.

Memory does not grow with a pack: no more is decompressed than is read, and what
comes before its turn is kept compressed, up to a limit. Nothing here is trusted;
whoever uses what comes out knows its hash. Out of scope: what the streams mean.
"""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from rootman.errors import InvalidInput
from rootman.packs.format import (
    CHUNK,
    CHUNK_HEAD,
    HEADER_LIMIT,
    Coding,
    Role,
    parse_header,
)

if TYPE_CHECKING:
    from rootman.packs.format import Header

_PIECE: Final = 1 << 16
# A pack has each chunk where it is needed. Another order would be a way to fill our memory.
_EARLY_LIMIT: Final = 1 << 20
_BARREN_LIMIT: Final = 1 << 20  # bytes of chunks of which nothing comes
_LONGEST_NUMBER: Final = 9  # bytes: 63 bits


class Damaged(InvalidInput):
    """A pack is not what a pack must be. What was made of it so far may still be right."""


class Chunks(Protocol):
    """Where a stream gets its compressed bytes from."""

    def take(self, role: Role) -> bytes:
        """Return the next chunk of a stream, b"" after its last.

        Raises:
            InvalidInput, OSError: there is no telling.
        """
        ...


class PackFile:
    """A pack, open for reading once from its beginning; ``what`` names it in errors."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        self._file = file
        self.what = what
        self.header: Header = parse_header(file.readline(HEADER_LIMIT), what)
        # As bytes, not as chunks: of those there might be a million, each an object.
        self._early = [bytearray() for _ in Role]
        self._ended = set[Role]()

    def take(self, role: Role) -> bytes:
        """Return the next chunk of a stream, b"" after its last.

        Raises:
            Damaged: the pack is cut off or in another order than that of use.
            OSError: it cannot be read.
        """
        if early := self._early[role]:
            data = bytes(early[:CHUNK])
            del early[:CHUNK]
            return data
        while role not in self._ended:
            found, data = self._read()
            if found in (role, None):
                return data
            self._early[found] += data
            if sum(map(len, self._early)) > _EARLY_LIMIT:
                raise Damaged(f"{self.what}: damaged: not in the order of use")
        return b""

    def _read(self) -> tuple[Role | None, bytes]:
        """Return the next chunk of any stream, none at the end of the file."""
        head = self._exactly(CHUNK_HEAD)
        if not head:
            return None, b""
        size = int.from_bytes(head[1:], "little")
        if head[0] >= len(Role) or size > CHUNK or head[0] in self._ended:
            raise Damaged(f"{self.what}: damaged: not a chunk")
        role = Role(head[0])
        if not size:
            self._ended.add(role)
            return role, b""
        data = self._exactly(size)
        if not data:
            raise Damaged(f"{self.what}: cut off")
        return role, data

    def _exactly(self, size: int) -> bytes:
        """Read ``size`` bytes, or b"" at the end of the file."""
        data = self._file.read(size)
        while data and len(data) < size:
            more = self._file.read(size - len(data))
            if not more:
                raise Damaged(f"{self.what}: cut off")
            data += more
        return data


class Stream:
    """One decompressed stream. Every method raises ``Damaged`` where it ends too early."""

    def __init__(self, source: Chunks, role: Role, coding: Coding, what: str) -> None:
        self._decoder = _decoder(source, role, coding)
        self.what = f"{what}: stream {role.name.lower()}"
        self._buffer = b""
        self._at = 0

    def _fill(self) -> None:
        """Have at least one byte ahead, where there is none."""
        try:
            more = self._decoder.read(_PIECE)
        except lzma.LZMAError as error:
            raise Damaged(f"{self.what}: damaged: {error}") from error
        if not more:
            raise Damaged(f"{self.what}: ends too early")
        self._buffer, self._at = more, 0

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, which the caller can keep in memory."""
        end = self._at + size
        if end <= len(self._buffer):
            data = self._buffer[self._at : end]
            self._at = end
            return data
        parts = list[bytes]()
        while size:
            if self._at == len(self._buffer):
                self._fill()
            part = self._buffer[self._at : self._at + size]
            parts.append(part)
            size -= len(part)
            self._at += len(part)
        return b"".join(parts)

    def number(self) -> int:
        """Return the next number (LEB128)."""
        if self._at == len(self._buffer):
            self._fill()
        byte = self._buffer[self._at]
        self._at += 1
        if byte < 0x80:
            return byte
        found = byte & 0x7F
        for count in range(1, _LONGEST_NUMBER):
            (byte,) = self.read(1)
            found |= (byte & 0x7F) << 7 * count
            if byte < 0x80:
                return found
        raise Damaged(f"{self.what}: damaged: a number is too long")

    def line(self, limit: int) -> bytes:
        """Return the next line with its newline, which has at most ``limit`` bytes."""
        line = bytearray()
        while not line.endswith(b"\n"):
            if self._at == len(self._buffer):
                self._fill()
            end = self._buffer.find(b"\n", self._at) + 1 or len(self._buffer)
            line += self._buffer[self._at : end]
            self._at = end
            if len(line) > limit:
                raise Damaged(f"{self.what}: damaged: a line is too long")
        return bytes(line)


class Streams:
    """The streams of a pack by what they are for."""

    def __init__(self, source: Chunks, header: Header, what: str) -> None:
        self.what = what
        self._all = [Stream(source, role, header.codings[role], what) for role in Role]

    def __getitem__(self, role: Role) -> Stream:
        return self._all[role]


class _Decoder(Protocol):
    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        ...


def _decoder(source: Chunks, role: Role, coding: Coding) -> _Decoder:
    if coding.codec == "zstd":
        return _Zstandard(source, role, coding.window)
    filters: list[dict[str, object]] = [{"id": lzma.FILTER_LZMA2, "dict_size": coding.window}]
    if coding.codec == "x86+lzma2":
        filters.insert(0, {"id": lzma.FILTER_X86})
    return _Lzma(source, role, filters)


class _Lzma:
    """Raw LZMA2, one after the other: each is the work of one processor."""

    def __init__(self, source: Chunks, role: Role, filters: list[dict[str, object]]) -> None:
        self._feed, self._filters = _Feed(source, role), filters
        self._decoder: lzma.LZMADecompressor | None = None

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        data = b""
        while True:
            if self._decoder is None or self._decoder.eof:
                data = self._decoder.unused_data if self._decoder else b""
                data = data or self._feed.read()
                if not data:
                    return b""
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=self._filters)
            elif self._decoder.needs_input:
                data = self._feed.read()
                if not data:
                    raise lzma.LZMAError("cut off")
            else:
                data = b""
            if found := self._decoder.decompress(data, size):
                self._feed.bore()
                return found


class _Zstandard:
    """zstd frames, one after the other."""

    def __init__(self, source: Chunks, role: Role, window: int) -> None:
        import zstandard

        self._feed = _Feed(source, role)
        self._damage = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=max(window, 1 << 10))
        feed = cast("BinaryIO", self._feed)
        self._reader = decompressor.stream_reader(feed, read_across_frames=True)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        try:
            found = self._reader.read(size)
        except self._damage as error:
            raise lzma.LZMAError(str(error)) from error
        self._feed.bore()
        return found


class _Feed:
    """The chunks of one stream as a file of which ``read`` returns the next.

    A skippable frame or empty streams could go on for ever, and nothing would come of them.
    """

    def __init__(self, source: Chunks, role: Role) -> None:
        self._source, self._role = source, role
        self._barren = 0

    def read(self, size: int = CHUNK) -> bytes:
        """Return the next chunk, which has at most ``CHUNK`` bytes."""
        del size
        data = self._source.take(self._role)
        self._barren += len(data)
        if self._barren > _BARREN_LIMIT:
            raise Damaged(f"stream {self._role.name.lower()}: damaged: nothing comes of it")
        return data

    def bore(self) -> None:
        """Say that something came of what was read."""
        self._barren = 0
