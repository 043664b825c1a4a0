"""How much room a command takes, against what its filesystem has left. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import NoSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.delta import Needs
    from rootman.plan import Seed

_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class Room:
    """What the filesystem has left: bytes, and inodes (None where it does not count them)."""

    free_bytes: int
    free_inodes: int | None


@dataclass(frozen=True, slots=True)
class Download:
    """What comes over a network for an upgrade, in bytes.

    ``packs`` is what is still to come as packs, ``apart`` as objects and manifests, at most.
    ``kept`` is on the disk beside the content until the upgrade is done, ``here`` what an
    earlier one left of what is wanted.
    """

    packs: int = 0
    apart: int = 0
    kept: int = 0
    here: int = 0


NO_DOWNLOAD: Final = Download()


def check_room(
    needs: Needs,
    seed: Seed,
    room: Room,
    download: Download,
    *,
    directories: int,
    manifest_size: int,
    local: Sequence[int] = (),
) -> None:
    """Refuse an upgrade for which bytes or inodes would not suffice.

    ``directories`` is how many the new tree has, ``manifest_size`` its manifest's
    bytes: the record of a tree takes less than half of that. What is here of the
    ``download`` takes no room again (HT-11). ``local`` has the size of each entry that is
    copied besides: of configuration that was changed here, and of state that is to be made.

    Raises:
        NoSpace: it says how much is missing.
    """
    made = directories if seed.kind == "tree" else 0
    content = needs.fetch_bytes + download.kept - download.here
    made_inodes = needs.new_inodes + made + len(local)
    require_room(room, max(content, 0) + sum(local) + manifest_size // 2, made_inodes)


def require_room(room: Room, content: int, made_inodes: int) -> None:
    """Refuse to make so many inodes, with so many bytes of ``content``, without the room for them.

    Raises:
        NoSpace: it says how much is missing.
    """
    size = content + made_inodes * _BLOCK
    inodes = made_inodes + 16
    hint = "rootman prune"
    if size > room.free_bytes:
        raise NoSpace(
            f"this needs {_mib(size)} MiB and {_mib(room.free_bytes)} MiB are free", hint=hint
        )
    if room.free_inodes is not None and inodes > room.free_inodes:
        raise NoSpace(f"this needs {inodes} inodes and {room.free_inodes} are free", hint=hint)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f}"
