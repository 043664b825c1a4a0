"""Text for people and documents for scripts, on standard output.

Out of scope: what is worth telling (the core), errors (``main``) and what is told
while a command works (``progress``).
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from rootman.names import tree_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rootman.difference import PathDifference
    from rootman.names import TreeNumber

_KIB: Final = 1024
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)}


class ReaderGone(Exception):
    """Whoever read our output has closed it; there is nobody to tell anything."""


def printable(text: str) -> str:
    """Return ``text`` as one line of printable ASCII that commands no terminal (EX-3)."""
    return text.encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


def readable(text: str) -> str:
    """Return ``text`` as every reader of JSON takes it: bytes that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def emit(lines: Iterable[str]) -> None:
    """Print lines that are printable already.

    Raises:
        ReaderGone: nobody reads them any more.
        SystemFailure: they cannot be written.
    """
    emit_raw((line + "\n").encode("utf-8", "backslashreplace") for line in lines)


def emit_raw(chunks: Iterable[bytes]) -> None:
    """Print bytes as they are.

    Raises:
        ReaderGone: nobody reads them any more.
        SystemFailure: they cannot be written.
    """
    output = sys.stdout.buffer
    for chunk in chunks:
        _write(output.write, chunk)
    _write(output.flush)


def emit_json(document: object) -> None:
    """Print one JSON document.

    Raises:
        ReaderGone, SystemFailure: as for ``emit``.
    """
    import json

    emit((json.dumps(document, indent=2),))


def compact_json(document: object) -> str:
    """Return a JSON document on one line."""
    import json

    return json.dumps(document)


def difference(one: PathDifference) -> dict[str, object]:
    """Return a difference as the documents of all commands show it."""
    return {
        "path": path(one.path),
        "kind": one.kind,
        "what": [{"keyword": it.keyword, "old": it.old, "new": it.new} for it in one.what],
    }


def numbered(key: str, os_name: str, number: TreeNumber | None) -> dict[str, object]:
    """Return a tree as the documents of all commands show it: its version, and its name (EX-6)."""
    if number is None:
        return {key: None, f"{key}_name": None}
    return {key: number.version, f"{key}_name": tree_name(os_name, number)}


def _write(action: Callable[..., object], *arguments: bytes) -> None:
    try:
        action(*arguments)
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        from rootman.errors import SystemFailure

        abandon_output()
        raise SystemFailure(f"standard output: {error.strerror}") from error


def abandon_output() -> None:
    """Let what is still in the buffer go nowhere, or Python would complain of it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def path(name: bytes) -> str:
    """Return a path as manifests spell it: one word, whatever bytes are in the name."""
    from rootman.manifest import encode

    return encode(name).decode("ascii")


def size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return "?"
    if count < _KIB:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= _KIB
        if value < _KIB:
            return f"{value:.1f} {unit}"
    return f"{value / _KIB:.1f} TiB"


def count(number: int, noun: str) -> str:
    """Return ``1 tree``, ``2 trees``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(seconds: int | None) -> str:
    """Return a time in seconds since 1970 as local time."""
    return "?" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Return ``rows`` with their columns aligned, those in ``right`` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
