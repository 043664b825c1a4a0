"""The calls of a real command, told in the words of the model.

What happens below a tree or a record is one change, whatever it consists of, and so is
a removal. Downloads and ``state.json`` are not in the model and not told.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.fault.order import Event

_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_STAGE: Final = rf"staging/(?:building|deleting|retired|spare)\.{_NUMBER}"
_INSIDE: Final = re.compile(rf"({_STAGE}/(?:root|seal))(/.*)?", re.DOTALL)
_REMOVED: Final = re.compile(rf"{_STAGE}(?:/meta)?|trees/{_NUMBER}|staging/link")
_SYNCED: Final = {".": ".", ".rootman/trees": "trees", ".rootman/staging": "staging"}


def told(trace: Iterable[Event | str]) -> list[str]:
    """Return the lines for a trace of calls, with the names of steps (texts) in between."""
    lines: list[str] = []
    for line in _lines(trace):
        if not (line.startswith("change ") and lines[-1:] == [line]):
            lines.append(line)
    return lines


def _lines(trace: Iterable[Event | str]) -> Iterator[str]:
    removed = ""
    for event in trace:
        if isinstance(event, str):
            yield event
            continue
        path = _short(event.paths[0])
        if event.op not in ("unlink", "rmdir"):
            removed = ""
        elif removed and (path == removed or path.startswith(f"{removed}/")):
            continue  # it began before
        elif _REMOVED.fullmatch(path):
            removed = path
            yield f"remove {removed}"
            continue
        yield from _line(event)


def _line(event: Event) -> Iterator[str]:
    paths = [_short(path) for path in event.paths]
    inside = _INSIDE.fullmatch(paths[-1])
    if event.op in ("syncfs", "freeze_thaw"):
        yield event.op
    elif event.op == "fsync":
        if event.paths[0] in _SYNCED:  # files are synced as part of a change
            yield f"fsync {_SYNCED[event.paths[0]]}"
    elif inside and (inside[2] or len(paths) == 1):
        yield f"change {inside[1]}"
    elif not paths[-1].startswith("objects/"):
        yield " ".join((event.op, *paths))


def _short(path: str) -> str:
    return path.removeprefix(".rootman/")
