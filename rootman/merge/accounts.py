"""Merging passwd, group, shadow and gshadow by entry. Pure.

Each is a list of lines, a name first, fields divided by colons. A line that one side did not
change follows the other; where both changed one, its fields are merged each by itself, and
lists of members as sets. So a password that was changed here and a system user that the
release brings both survive. What the numbers of users and groups then mean twice is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMPAT: Final = (b"+", b"-")  # of nsswitch's compat: where it stands says what it means
_NEWLINE: Final = b"\n"

# By path: the fields that are lists of names, and that of the number that must be once.
_KINDS: Final[Mapping[bytes, tuple[frozenset[int], int | None]]] = {
    b"etc/passwd": (frozenset(), 2),
    b"etc/group": (frozenset({3}), 2),
    b"etc/shadow": (frozenset(), None),
    b"etc/gshadow": (frozenset({2, 3}), None),
}
ACCOUNT_FILES: Final = frozenset(_KINDS)

Line = list[bytes]


@dataclass(slots=True)
class Accounts:
    """What became of an account file: its ``content``, what gave way, and what to know."""

    content: bytes = b""
    losses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge_accounts(path: bytes, base: bytes, local: bytes, new: bytes) -> Accounts | None:
    """Return the merged file at ``path``, which is one of ``ACCOUNT_FILES``.

    An unknown ``base`` is empty: then nothing is taken for removed. None is returned where
    a side is not what such a file is.
    """
    sides = [_parse(one) for one in (base, local, new)]
    if None in sides:
        return None
    before, ours, theirs = (side or {} for side in sides)
    found = Accounts()
    lists, number_field = _KINDS[path]
    merged: dict[bytes, Line] = {}
    for name in (*ours, *(one for one in theirs if one not in ours)):
        line = _merge_entry(
            name, before.get(name), ours.get(name), theirs.get(name), lists=lists, found=found
        )
        if line is not None:
            merged[name] = line
    if number_field is not None:
        found.notes += _shared_numbers(merged, number_field, (ours, theirs))
    found.content = _written(merged)
    return found


def _parse(text: bytes) -> dict[bytes, Line] | None:
    """Return the lines by their names, None where two have one or one has none."""
    found: dict[bytes, Line] = {}
    for line in text.removesuffix(_NEWLINE).split(_NEWLINE) if text else ():
        fields = line.split(b":")
        if not fields[0] or fields[0] in found:
            return None
        found[fields[0]] = fields
    return found


def _merge_entry(
    name: bytes,
    base: Line | None,
    local: Line | None,
    new: Line | None,
    *,
    lists: frozenset[int],
    found: Accounts,
) -> Line | None:
    """Return the line of ``name``, None for none."""
    shown = name.decode("ascii", "backslashreplace")
    if local in (base, new):
        return new
    if new == base:
        return local
    if local is None:
        found.losses.append(f"{shown}: deleted here, changed by the release")
        return None
    if new is None:
        found.losses.append(f"{shown}: changed here, removed by the release")
        return local
    if len(local) != len(new) or (base is not None and len(base) != len(new)):
        found.losses.append(f"{shown}: changed here and by the release")
        return local
    return [
        _merge_field(
            shown, base[at] if base else None, ours, theirs, is_list=at in lists, found=found
        )
        for at, (ours, theirs) in enumerate(zip(local, new, strict=True))
    ]


def _merge_field(
    shown: str,
    base: bytes | None,
    local: bytes,
    new: bytes,
    *,
    is_list: bool,
    found: Accounts,
) -> bytes:
    if local in (base, new):
        return new
    if new == base:
        return local
    if is_list:
        return _merge_members(*(_members(one) for one in (base or b"", local, new)))
    found.losses.append(f"{shown}: a field was changed here and by the release")
    return local


def _members(text: bytes) -> list[bytes]:
    return text.split(b",") if text else []


def _merge_members(base: Sequence[bytes], local: Sequence[bytes], new: Sequence[bytes]) -> bytes:
    """Return the members that one side added, and those that neither removed."""
    stay = [one for one in local if one in new or one not in base]
    return b",".join([*stay, *(one for one in new if one not in base and one not in stay)])


def _shared_numbers(
    merged: Mapping[bytes, Line], at: int, sides: Sequence[Mapping[bytes, Line]]
) -> list[str]:
    """Return what to tell of numbers that two names have now and had on neither side."""
    by_number: dict[bytes, list[bytes]] = {}
    for name, line in merged.items():
        if len(line) > at and line[at] and not name.startswith(_COMPAT):
            by_number.setdefault(line[at], []).append(name)
    told = []
    for number, names in by_number.items():
        is_known = any(
            all(name in side and side[name][at : at + 1] == [number] for name in names)
            for side in sides
        )
        if len(names) > 1 and not is_known:
            shown = b", ".join(names).decode("ascii", "backslashreplace")
            told.append(f"number {number.decode('ascii', 'backslashreplace')} is that of {shown}")
    return told


def _written(merged: Mapping[bytes, Line]) -> bytes:
    lines = [b":".join(line) for name, line in merged.items() if not name.startswith(_COMPAT)]
    lines += [b":".join(line) for name, line in merged.items() if name.startswith(_COMPAT)]
    return b"".join(line + _NEWLINE for line in lines)
