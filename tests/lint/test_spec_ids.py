"""Every MUST of the specification has a test, and every id that is cited exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("rootman", "cow", "cli", "tests")
# The invariants of a store are S1 to S6, everything else is of the form ST-1.
DEFINITION = re.compile(r"^\*\*([A-Z]{2,}-[0-9]+|S[1-6])\*\*", re.MULTILINE)
CITATION = re.compile(r"\b(?:[A-Z]{2,}-[0-9]+|S[1-6])\b")
# These look like ids and are names of other things.
OTHER_NAMES = {"ISO-8601", "SHA-1", "SHA-256", "UTF-8", "UTF-16"}


def defined() -> Counter[str]:
    return Counter(
        name
        for page in (ROOT / "spec").glob("*.md")
        for name in DEFINITION.findall(page.read_text())
    )


def cited(*folders: str) -> dict[str, set[str]]:
    """Return for each id the files, below ``folders``, that cite it."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in {".py", ".sh"} or path == Path(__file__):
                continue
            for name in set(CITATION.findall(path.read_text())) - OTHER_NAMES:
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def test_there_is_a_specification() -> None:
    assert defined()


def test_every_id_is_defined_once() -> None:
    assert [name for name, times in defined().items() if times > 1] == []


def test_every_must_is_proved_by_a_test() -> None:
    assert sorted(defined().keys() - cited("tests")) == []


def test_every_cited_id_exists() -> None:
    unknown = {name: files for name, files in cited(*CODE).items() if name not in defined()}

    assert unknown == {}
