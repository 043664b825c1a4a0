"""The raw streams of a pack that is being made, in unnamed files, and their compression."""

from __future__ import annotations

import lzma
import os
import tempfile
from functools import partial
from mmap import mmap
from operator import setitem
from typing import TYPE_CHECKING, Final, Protocol

from rootman.packs.format import CHUNK, Coding, Role
from rootman.parallel import ordered_map, workers_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK: Final = 32 << 20
"""Bytes of a stream that are compressed at a time, by one processor."""

_AHEAD: Final = 2
_PIECE: Final = 1 << 18  # bytes of a block between two reports
_LONGEST_MATCH: Final = 273
_NUMBERS: Final = (Role.FILES, Role.COPY, Role.ADD, Role.INSERT, Role.SEEK)
_MIB: Final = 1 << 20
_WINDOWS: Final = {Role.DIFF: 8 * _MIB, Role.LITERAL: 16 * _MIB, Role.CODE: 8 * _MIB}
# Longer streams of bytes would be seconds of LZMA for a reader. zstd takes a tenth of them, and
# 8 % more bytes.
_LONG: Final = 32 * _MIB
_ZSTD_LEVEL: Final = 19
_ZSTD_FAST_LEVEL: Final = 12


class Spool:
    """What is appended to each stream, on the disk."""

    def __init__(self, folder: str) -> None:
        self._files = [tempfile.TemporaryFile(dir=folder) for _ in Role]  # noqa: SIM115 - close()

    def append(self, role: Role, data: bytes) -> None:
        """Add to the end of a stream.

        Raises:
            OSError: the disk is full, or fails.
        """
        self._files[role].write(data)

    def size(self, role: Role) -> int:
        """Return the bytes of a stream."""
        return self._files[role].tell()

    def read(self, role: Role, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes of a stream; what was appended has been flushed."""
        return os.pread(self._files[role].fileno(), size, offset)

    def flush(self) -> None:
        """Have all that was appended where ``read`` and other processes see it."""
        for file in self._files:
            file.flush()

    def descriptors(self) -> frozenset[int]:
        """Return the descriptors of the files, for processes that are to read them."""
        return frozenset(file.fileno() for file in self._files)

    def close(self) -> None:
        """Remove it."""
        for file in self._files:
            file.close()


class Compressed:
    """The streams as they are in the pack, given out in chunks; ``sent`` has those given out.

    ``fast`` is for the first installation, whose many bytes would take minutes.
    ``on_progress`` gets of how many bytes how many are compressed.
    """

    def __init__(
        self,
        spool: Spool,
        folder: str,
        on_progress: Callable[[int, int], None],
        *,
        fast: bool,
    ) -> None:
        spool.flush()
        self.codings = tuple(_coding(role, spool.size(role), fast=fast) for role in Role)
        level = _ZSTD_FAST_LEVEL if fast else _ZSTD_LEVEL
        self._spool = Spool(folder)
        self._places = dict.fromkeys(Role, 0)
        self._sent = list[tuple[Role, bytes]]()
        self._ended = set[Role]()
        blocks = [(role, start) for role in Role for start in range(0, spool.size(role), BLOCK)]
        total = sum(spool.size(role) for role in Role)
        # Of each block how many bytes are done; in memory that forks share.
        done = memoryview(mmap(-1, 8 * max(len(blocks), 1))).cast("Q")

        def work(index: int) -> tuple[Role, bytes]:
            role, start = blocks[index]
            data = spool.read(role, BLOCK, start)
            compressor = _compressor(role, self.codings[role], len(data), level)
            return role, _compress(compressor, data, partial(setitem, done, index))

        def report() -> None:
            on_progress(sum(done), total)

        workers = workers_for(len(blocks))
        for role, data in ordered_map(
            work,
            iter(range(len(blocks))),
            workers,
            keep=spool.descriptors(),
            ahead=_AHEAD,
            on_wait=report,
        ):
            self._spool.append(role, data)
            report()
        self._spool.flush()

    def take(self, role: Role) -> bytes:
        """Return the next chunk of a stream, b"" after its last, which is sent as well."""
        data = self._spool.read(role, CHUNK, self._places[role])
        self._places[role] += len(data)
        if data or role not in self._ended:
            self._sent.append((role, data))
        if not data:
            self._ended.add(role)
        return data

    def sent(self) -> Iterator[tuple[Role, bytes]]:
        """Yield the chunks that were taken since the last time, in their order."""
        sent, self._sent = self._sent, []
        return iter(sent)

    def close(self) -> None:
        """Remove it."""
        self._spool.close()


def _coding(role: Role, size: int, *, fast: bool) -> Coding:
    """Return how a stream is compressed."""
    # A window beyond the stream's end would only cost the reader memory.
    wanted = 1 << max((size - 1).bit_length(), 12)
    window = min(wanted, _WINDOWS.get(role, _MIB))
    if role in _WINDOWS and (fast or size > _LONG):
        return Coding("zstd", window)
    return Coding("x86+lzma2" if role == Role.CODE else "lzma2", window)


def _compress(compressor: _Compressor, data: bytes, on_progress: Callable[[int], None]) -> bytes:
    """Return a block, compressed; ``on_progress`` gets how many bytes of it are done."""
    parts = list[bytes]()
    for start in range(0, len(data), _PIECE):
        parts.append(compressor.compress(data[start : start + _PIECE]))
        on_progress(start)
    parts.append(compressor.flush())
    on_progress(len(data))
    return b"".join(parts)


def _compressor(role: Role, coding: Coding, size: int, level: int) -> _Compressor:
    """Return what compresses ``size`` bytes of a stream; ``level`` is of zstd."""
    if coding.codec == "zstd":
        import zstandard

        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, window_log=coding.window.bit_length() - 1, enable_ldm=True
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compressobj(size)
    filters: list[dict[str, object]] = [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": 6,
            "dict_size": coding.window,
            "nice_len": _LONGEST_MATCH,
            **_model(role),
        }
    ]
    if coding.codec == "x86+lzma2":
        filters.insert(0, {"id": lzma.FILTER_X86})
    return lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready when ``data`` is added."""
        ...

    def flush(self) -> bytes:
        """Return the rest."""
        ...


def _model(role: Role) -> dict[str, int]:
    """Return what LZMA is to expect of a stream: of single numbers, no text and no alignment."""
    if role in _NUMBERS:
        return {"lc": 0, "lp": 0, "pb": 0}
    return {"pb": 0} if role == Role.DIFF else {}
