"""What the configuration of a tree was merged of: kept in its record, to merge it again. Pure.

An upgrade merges what was changed in the tree that runs, which goes on to run and to change.
At shutdown it is merged again (MG-17) where the note says that it may be: of the same tree, into
one that nobody changed since.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from rootman.names import parse_tree_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootman.names import TreeNumber
    from rootman.state import StoreState, Tree

FORMAT: Final = 1
_BYTES: Final = "surrogateescape"  # a path may have any

Imprints = dict[str, str]
"""What stands for the local changes of each config path (``imprint``)."""


@dataclass(frozen=True, slots=True)
class MergeNote:
    """The content of ``merge.json`` in the record of a tree that configuration was merged into.

    ``source`` is the tree that it came from, ``local`` the imprints of its changes that were
    merged. ``result`` has for each config path the imprints that it may have where nobody changed
    it since: two while it is replaced. ``beside`` are paths that the merge made and that are not
    configuration, ``failure`` is why the last merge again failed, "" where it did not.
    """

    source: TreeNumber
    local: Mapping[str, str]
    result: Mapping[str, Sequence[str]]
    beside: tuple[bytes, ...] = ()
    failure: str = ""

    @classmethod
    def of(
        cls, source: TreeNumber, local: Imprints, result: Imprints, beside: tuple[bytes, ...]
    ) -> Self:
        """Return the note of a merge that was just made."""
        return cls(source, local, {path: [one] for path, one in result.items()}, beside)

    def fits(self, imprints: Imprints) -> bool:
        """Return whether configuration with these imprints is as the merge left it."""
        return self.result.keys() == imprints.keys() and all(
            imprints[path] in known for path, known in self.result.items()
        )

    def on_the_way_to(self, after: MergeNote) -> MergeNote:
        """Return what holds while each config path is as one of two merges left it.

        What was merged counts as that of the first, so that it is merged once more.
        """
        both = {
            path: list(dict.fromkeys((*self.result.get(path, ()), *known)))
            for path, known in after.result.items()
        }
        beside = tuple(dict.fromkeys((*self.beside, *after.beside)))
        return replace(self, result=both, beside=beside)

    def serialise(self) -> bytes:
        """Return the content of ``merge.json``."""
        document = {
            "format": FORMAT,
            "source": str(self.source),
            "local": dict(self.local),
            "result": {path: list(known) for path, known in self.result.items()},
            "beside": [path.decode("utf-8", _BYTES) for path in self.beside],
            "failure": self.failure,
        }
        return (json.dumps(document, sort_keys=True) + "\n").encode()


def parse_note(data: bytes) -> MergeNote | None:
    """Return the note in ``data``; None for a damaged one, without which nothing is merged."""
    try:
        document = json.loads(data)
        source = parse_tree_number(document["source"])
        if document["format"] != FORMAT or source is None:
            return None
        return MergeNote(
            source,
            {_text(path): _text(one) for path, one in document["local"].items()},
            {_text(path): list(map(_text, known)) for path, known in document["result"].items()},
            tuple(_text(path).encode("utf-8", _BYTES) for path in document["beside"]),
            _text(document["failure"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


@dataclass(frozen=True, slots=True)
class SecondMerge:
    """The tree ``source``, which runs, and the tree ``target`` that its changes are merged into."""

    source: Tree
    target: Tree
    note: MergeNote


def second_merge(state: StoreState, booted: str) -> SecondMerge | None:
    """Return what is to be merged again where the tree named ``booted`` runs, None for nothing.

    The tree that is current was made of the one that runs, and was not switched to later as one
    that was here already: then it has no note.
    """
    target = state.sealed(state.current)
    if target is None or target.note is None or state.is_bad(target.number):
        return None
    source = state.sealed(target.note.source)
    if source is None or source.name != booted or source is target:
        return None
    return SecondMerge(source, target, target.note)


def has_run(state: StoreState, booted: str) -> TreeNumber | None:
    """Return the current tree if it has a note and is the one that runs: the note is of no use."""
    target = state.sealed(state.current)
    if target is None or target.note is None or target.name != booted:
        return None
    return target.number


def failed_merge(state: StoreState) -> str | None:
    """Return what to tell of a merge at shutdown that failed, with the way out; None for nothing.

    It is over when the tree that was merged from is not there any more.
    """
    target = state.sealed(state.current)
    if target is None or target.note is None or not target.note.failure:
        return None
    source = state.sealed(target.note.source)
    if source is None:
        return None
    what = f"what was changed in the configuration of {source.name} after the upgrade"
    hint = f"(hint: rootman config-diff {source.number} {target.number})"
    return f"{what} is not in {target.name}: {target.note.failure} {hint}"
