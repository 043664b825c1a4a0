"""What becomes of one path that was changed locally when the release changes it, too. Pure.

A path has three sides: ``base``, as the tree that is left was sealed; ``local``, as it is
there now; and ``new``, as the tree that is made has it. Body (type and content), mode with the
access ACL, owner, and each extended attribute are merged by themselves: what one side left
alone follows the other, and where both changed it differently the local one stays, which
is a loss to be told (MG-3). What this means for what is above and below a path is the business
of ``planning``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from rootman.manifest import OF_THE_KERNEL, Entry, encode, printable

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rootman.merge.paths import Beside

_T = TypeVar("_T")
Source = Literal["local", "new", "merged"]

ACL_ACCESS: Final = b"system.posix_acl_access"
_XATTR: Final = b"xattr."


@dataclass(frozen=True, slots=True)
class Merged:
    """The content that became of a local file and a new one, entry by entry or line by line.

    ``losses`` say what of it gave way, ``notes`` what else is to be known.
    """

    content: bytes
    sha256: str
    how: str
    losses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a path is to be: ``entry``, its content from ``source``; None is nothing.

    ``beside`` says what is kept next to it: the ``new`` default, or the ``old`` local one.
    ``losses`` say what gave way.
    """

    entry: Entry | None
    source: Source = "new"
    beside: Beside | None = None
    losses: tuple[str, ...] = ()


def body(entry: Entry | None) -> Hashable:
    """Return what an entry is, metadata apart; None where there is none."""
    if entry is None:
        return None
    return entry.type, entry.sha256, entry.link, entry.device


def metadata(entry: Entry) -> dict[bytes, object]:
    """Return the metadata that are merged each by itself, by their names.

    The mode has the access ACL with it, of which it shows a part. The time is that of the body.
    """
    xattrs = dict(entry.xattrs)
    found: dict[bytes, object] = {
        b"mode": (entry.mode, xattrs.pop(ACL_ACCESS, None)),
        b"uid": entry.uid,
        b"gid": entry.gid,
    }
    for name, value in xattrs.items():
        if name not in OF_THE_KERNEL:
            found[_XATTR + name] = value
    return found


def differing(one: Entry, other: Entry) -> tuple[str, ...]:
    """Return the names of what differs in the metadata of two entries."""
    before, after = metadata(one), metadata(other)
    names = dict.fromkeys((*before, *after))
    return tuple(printable(name) for name in names if before.get(name) != after.get(name))


def is_same(one: Entry | None, other: Entry | None) -> bool:
    """Return whether two entries differ in nothing but times and hardlinks."""
    if one is None or other is None:
        return one is other
    return body(one) == body(other) and metadata(one) == metadata(other)


def has_change(base: Entry | None, local: Entry | None, other: Entry | None) -> bool:
    """Return whether ``other`` has all that makes ``local`` differ from ``base``."""
    if local is None or other is None:
        return local is other
    if body(local) not in (body(base), body(other)):
        return False
    before = metadata(base) if base is not None else {}
    mine, its = metadata(local), metadata(other)
    names = before.keys() | mine.keys()
    return all(mine.get(one) in (before.get(one), its.get(one)) for one in names)


def decide(
    base: Entry | None, local: Entry | None, new: Entry | None, merged: Merged | None = None
) -> Decision:
    """Return what becomes of a path that is not locally what it was (MG-3).

    ``merged`` is what became of the contents, where both sides changed them and they can
    be merged.
    """
    if local is None:
        return _deleted(base, new)
    if new is None:
        return _removed(base, local)
    return _both(base, local, new, merged)


def _both(base: Entry | None, local: Entry, new: Entry, merged: Merged | None) -> Decision:
    if body(local) == body(new):
        return _agreed(base, local, new)
    if base is not None and body(local) == body(base):
        return _follows(base, local, new)
    if base is not None and body(new) == body(base):
        return _stays(base, local, new)
    if merged is not None:
        return _merged(base, local, new, merged)
    return _conflict(base, local, new)


def _deleted(base: Entry | None, new: Entry | None) -> Decision:
    if new is None:
        return Decision(None)
    if base is not None and body(base) == body(new):
        changed = differing(base, new)
        return Decision(None, losses=_changed("deleted here", changed))
    if new.type == "dir":  # not what was deleted; and what is in it may be needed
        return Decision(new, losses=("deleted here; the release has a directory now",))
    return Decision(None, beside="new", losses=("deleted here, changed by the release",))


def _removed(base: Entry | None, local: Entry) -> Decision:
    if base is None:
        return Decision(local, "local")
    if is_same(base, local):
        return Decision(None)
    return Decision(local, "local", losses=("changed here, removed by the release",))


def _agreed(base: Entry | None, local: Entry, new: Entry) -> Decision:
    """Both sides have the same body, whether or not one of them changed it."""
    entry, losses = _mixed(base, local, new)
    if base is not None and new.time_ns == base.time_ns:
        entry = replace(entry, time_ns=local.time_ns)
    return Decision(entry, "new", losses=losses)


def _follows(base: Entry, local: Entry, new: Entry) -> Decision:
    """Only the release changed the body."""
    if new.type == base.type:
        entry, losses = _mixed(base, local, new)
        return Decision(entry, "new", losses=losses)
    if changed := differing(base, local):
        # The metadata of another type mean something else there: nothing is carried over.
        return Decision(new, "new", "old", _changed("changed by the release", changed, "here"))
    return Decision(new)


def _stays(base: Entry, local: Entry, new: Entry) -> Decision:
    """Only the local side changed the body."""
    if local.type != base.type:
        changed = differing(base, new)
        return Decision(local, "local", losses=_changed("another type here", changed))
    entry, losses = _mixed(base, local, new)
    return Decision(_with_body(entry, local), "local", losses=losses)


def _merged(base: Entry | None, local: Entry, new: Entry, merged: Merged) -> Decision:
    entry, losses = _mixed(base, local, new)
    entry = replace(
        entry,
        size=len(merged.content),
        sha256=merged.sha256,
        time_ns=max(local.time_ns, new.time_ns),
    )
    return Decision(entry, "merged", losses=merged.losses + losses)


def _conflict(base: Entry | None, local: Entry, new: Entry) -> Decision:
    told = "changed here and by the release" if base else "added here and by the release"
    losses: tuple[str, ...] = (told,)
    if base is not None and base.type == local.type == new.type:
        entry, more = _mixed(base, local, new)
        return Decision(_with_body(entry, local), "local", "new", losses + more)
    return Decision(local, "local", "new", losses)


def _with_body(entry: Entry, other: Entry) -> Entry:
    """Return ``entry`` with what ``other`` is, and its time."""
    return replace(
        entry,
        type=other.type,
        size=other.size,
        sha256=other.sha256,
        link=other.link,
        device=other.device,
        time_ns=other.time_ns,
    )


def _mixed(base: Entry | None, local: Entry, new: Entry) -> tuple[Entry, tuple[str, ...]]:
    """Return ``new`` with the metadata that the local side changed, and what was lost."""
    sides = (metadata(base) if base else {}), metadata(local), metadata(new)
    found: dict[bytes, object] = {}
    losses: list[str] = []
    for name in dict.fromkeys((*sides[1], *sides[2], *sides[0])):
        value, is_lost = _choose(*(side.get(name) for side in sides))
        found[name] = value
        if is_lost:
            values = (_shown(side.get(name)) for side in sides[1:])
            losses.append("{}: {} here, {} by the release".format(printable(name), *values))
    links = _choose(_links(base) if base else None, _links(local), _links(new))[0]
    return _with_metadata(new, found, links or (1, 0)), tuple(losses)


def _links(entry: Entry) -> tuple[int, int]:
    return entry.nlink, entry.inode


def _shown(value: object) -> str:
    """Return a value for people; what is not short is only said to be there."""
    if isinstance(value, tuple):
        mode, acl = value
        return f"{mode:04o}" if acl is None else f"{mode:04o} with an ACL"
    if value is None:
        return "none"
    return str(value) if isinstance(value, int) else "another"


def _with_metadata(new: Entry, found: dict[bytes, Any], links: tuple[int, int]) -> Entry:
    mode, acl = found[b"mode"]
    xattrs = [pair for pair in new.xattrs if pair[0] in OF_THE_KERNEL]
    if acl is not None:
        xattrs.append((ACL_ACCESS, acl))
    xattrs += [
        (name.removeprefix(_XATTR), value)
        for name, value in found.items()
        if name.startswith(_XATTR) and value is not None
    ]
    return replace(
        new,
        mode=mode,
        uid=found[b"uid"],
        gid=found[b"gid"],
        xattrs=tuple(sorted(xattrs, key=lambda pair: encode(pair[0]))),
        nlink=links[0],
        inode=links[1],
    )


def _choose(base: _T | None, local: _T | None, new: _T | None) -> tuple[_T | None, bool]:
    """Return which of three values stands, and whether another gave way to it."""
    if local in (base, new):
        return new, False
    return local, new != base


def _changed(what: str, names: tuple[str, ...], where: str = "by the release") -> tuple[str, ...]:
    return (f"{what}; {where} changed: {', '.join(names)}",) if names else ()
