"""How the verdict on a tree is shown, by ``verify`` and by ``repair``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cli.render import count, difference, path
from rootman.errors import EXIT_DAMAGED, EXIT_MODIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.examination import Examination, Finding
    from rootman.verify import Verdict

_EXIT_CODES: Final = {"pristine": 0, "modified": EXIT_MODIFIED, "damaged": EXIT_DAMAGED}


def exit_code(verdict: Verdict) -> int:
    """Return the exit code that says ``verdict``."""
    return _EXIT_CODES[verdict]


def finding(one: Finding) -> str:
    """Return a line about one path that is not as it was installed."""
    state = "damaged" if one.damaged else "modified"
    found = one.difference
    what = ", ".join(map(str, found.what)) or found.kind
    return f"{state:8} {path(found.path)} ({what})"


def lines(examination: Examination) -> Iterator[str]:
    """Yield a line for each path that is not as it was installed, and the verdict."""
    yield from map(finding, examination.findings)
    total = len(examination.findings)
    damaged = sum(one.damaged for one in examination.findings)
    counts = f": {count(damaged, 'path')} damaged, {total - damaged} modified" if total else ""
    hint = f" (to undo that: rootman repair {examination.number})" if total else ""
    kept = examination.local
    local = f" but for {count(kept, 'change')} of configuration, which stay" if kept else ""
    yield f"{examination.name} is {examination.verdict}{local}{counts}{hint}"


def document(examination: Examination) -> dict[str, object]:
    """Return what the JSON documents of ``verify`` and ``repair`` have in common."""
    return {
        "version": examination.number.version,
        "revision": examination.number.revision,
        "name": examination.name,
        "verdict": examination.verdict,
        "differences": [
            {**difference(one.difference), "damaged": one.damaged} for one in examination.findings
        ],
    }
