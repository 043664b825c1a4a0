"""Stores as a loader sees them, all that there are up to a bound, and how they are laid out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rootman.boot.block import BLOCK_SIZE, BootState, parse_block, serialise_block
from rootman.boot.choice import Choice, Links, choose

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

Case = tuple["Layout", BootState]

GONE: Final = "olpc.9"
STATE_FILE: Final = '{"compatible": "", "format": 1, "name": "olpc", "pinned": []}\n'


@dataclass(frozen=True, slots=True)
class Layout:
    """The complete trees of a store, and where its links lead, "" for nowhere."""

    trees: frozenset[str]
    links: Links = field(default_factory=Links)


def layouts(*names: str) -> Iterator[Layout]:
    """Give every set of the trees with these names, and every way to point the links at them."""
    for size in range(len(names) + 1):
        for trees in itertools.combinations(names, size):
            for current, previous in itertools.product(("", *trees), repeat=2):
                yield Layout(frozenset(trees), Links(current, previous))


def blocks(trees: frozenset[str], *, tries: tuple[int, ...]) -> Iterator[BootState]:
    """Give every boot state about ``trees``, with one tree at most for once or for rescue."""
    names = sorted(trees)
    pendings = [("", 0), *itertools.product(names, tries)]
    bads = [bad for size in range(len(names) + 1) for bad in itertools.combinations(names, size)]
    specials = [("", ""), *((one, "") for one in names), *(("", one) for one in names)]
    for (pending, left), bad, (once, rescue) in itertools.product(pendings, bads, specials):
        yield BootState(pending, left, bad, once, rescue)


def cases(*names: str, tries: tuple[int, ...] = (0, 1, 2)) -> list[Case]:
    """Return every store with these trees, at most."""
    return [(one, boot) for one in layouts(*names) for boot in blocks(one.trees, tries=tries)]


def cases_without_links(*names: str) -> list[Case]:
    """Return every store with these trees whose links lead nowhere."""
    trees = frozenset(names)
    return [(Layout(trees), boot) for boot in blocks(trees, tries=(0, 2))]


# Things that are no trees, and links that lead nowhere: all of it counts for nothing.
ODD: Final[tuple[Case, ...]] = (
    (Layout(frozenset({"olpc.1", "olpc.10", "olpc.9"})), BootState()),
    (Layout(frozenset({"olpc.2"}), Links("", "olpc.2")), BootState(pending=GONE, tries=2)),
    (Layout(frozenset({"olpc.2"}), Links("olpc.2", "")), BootState(pending=GONE, tries=0)),
    (Layout(frozenset({"olpc.2"}), Links("olpc.2", "")), BootState(once=GONE)),
    (Layout(frozenset({"olpc.2"}), Links("olpc.2", "")), BootState(rescue=GONE, bad=(GONE,))),
    *(
        (Layout(frozenset({"olpc.2"}), Links("olpc.2", "")), BootState("olpc.2", tries))
        for tries in range(10)
    ),
)


def lay_out(store: Path, layout: Layout, boot: BootState) -> None:
    """Make a store as far as a loader looks, with what is no tree beside the trees."""
    control = store / ".rootman"
    (control / "boot").mkdir(parents=True)
    (control / "boot" / "grubenv").write_bytes(serialise_block(boot))
    (control / "state.json").write_text(STATE_FILE)
    for name in layout.trees:
        record = control / "trees" / name.partition(".")[2]
        record.mkdir(parents=True)
        (record / "seal.json").touch()
        label(store / name, name)
    label(store / "olpc.77", "olpc.77")  # has no seal record
    for link, target in (("current", layout.links.current), ("previous", layout.links.previous)):
        # A link that leads nowhere is as good as none.
        (store / link).symlink_to(target or "olpc.99")


def label(tree: Path, name: str) -> None:
    """Put a kernel into a tree, and what it says of itself to GRUB and to U-Boot."""
    version = ".".join(name.split(".")[:2])
    (tree / "boot").mkdir(parents=True)
    (tree / "boot" / "vmlinuz").touch()
    text = f"set rootman_tree={version}\nset rootman_linux=/boot/vmlinuz\n"
    (tree / "boot" / "rootman.cfg").write_text(text)
    (tree / "boot" / "rootman.env").write_text(
        f"rootman_tree={version}\nrootman_number={version.partition('.')[2]}\n"
        "rootman_linux=/boot/vmlinuz\n"
    )


def read_block(path: Path) -> BootState:
    """Return the boot state in a block, which is as large as it must be."""
    data = path.read_bytes()
    boot = parse_block(data)
    assert len(data) == BLOCK_SIZE
    assert boot is not None
    return boot


def of_version(trees: Collection[str], version: str) -> frozenset[str]:
    """Return the trees of a version: ``olpc.7`` itself, and ``olpc.7.1``."""
    return frozenset(one for one in trees if one == version or one.startswith(f"{version}."))


def choose_of_version(
    boot: BootState, links: Links, trees: Collection[str], version: str
) -> Choice:
    """Return what boots where the loader has loaded the kernel of a version (BT-9)."""
    known = of_version(trees, version)
    seen = Links(
        links.current if links.current in known else "",
        links.previous if links.previous in known else "",
    )
    return choose(boot, seen, known)
