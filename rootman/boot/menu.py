"""What the menu of a loader is to say, and what it says of attempts that were made. Pure.

systemd-boot takes the first entry of its menu that has attempts left; the name of an entry has
the tree, its place in the order, and a counter that the loader counts down (BT-22). extlinux
takes what one line of its one file says (BT-24). Out of scope: reading and
writing it (``menufiles``, ``menuwriter``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rootman.boot import trial
from rootman.boot.block import BootState
from rootman.boot.choice import Links, age, candidates, choose, settle
from rootman.switching import links_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from rootman.boot.choice import Reason
    from rootman.boot.loader import Loader
    from rootman.state import StoreState

    Wanted = tuple[BootState, Links, Collection[str]]

# The order of BT-5; what is to be booted once is before all of them.
ONCE: Final = 0
_PLACES: Final[Mapping[Reason, int]] = {"current": 1, "previous": 2, "newest": 3, "rescue": 4}
_ENTRY: Final = re.compile(r"rootman-([^+]+)-([0-4])(?:\+([0-9]{1,9})(?:-[0-9]{1,9})?)?\.conf")
FOLDER: Final = "rootman"
# A kernel is called by what is in it, so that trees with the same one share it.
KERNEL_FILE: Final = re.compile(r"[0-9a-f]{32}\.(?:linux|initrd)")
_LINUX: Final = re.compile(rf"/{FOLDER}/([0-9a-f]{{32}}\.linux)$", re.MULTILINE)
_INITRD: Final = re.compile(rf"/{FOLDER}/([0-9a-f]{{32}}\.initrd)$", re.MULTILINE)
_SECTION: Final = re.compile(
    r"^(?:title|LABEL) (\S+)$(.*?)(?=^LABEL |\Z)", re.MULTILINE | re.DOTALL
)
# The names in the menu of extlinux are in its first line, in their order.
_MARK: Final = "# Written by rootman, which writes it again:"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry in the menu of systemd-boot.

    ``place`` is that of the tree in the order of BT-5, ``left`` the attempts that are left,
    None where they are not counted.
    """

    tree: str
    place: int
    left: int | None = None

    @property
    def name(self) -> str:
        """The name of its file."""
        counter = "" if self.left is None else f"+{self.left}"
        return f"rootman-{self.tree}-{self.place}{counter}.conf"

    @property
    def rank(self) -> tuple[bool, int, tuple[int, ...]]:
        """What systemd-boot orders by: the least is the first."""
        return self.left == 0, self.place, tuple(-number for number in (*age(self.tree), 0))

    def text(self, kernel: Kernel, loader: Loader) -> str:
        """Return the content of its file; it does not change with the attempts."""
        version = self.tree.partition(".")[2]
        initrd = f"initrd {loader.prefix}/{kernel.initrd}\n" if kernel.initrd else ""
        return (
            f"title {self.tree}\nsort-key rootman-{self.place}\nversion {version}\n"
            f"linux {loader.prefix}/{kernel.linux}\n{initrd}"
            f"options {kernel_arguments(self.tree, kernel, loader)}\n"
        )


@dataclass(frozen=True, slots=True)
class Kernel:
    """The files that a tree is booted by, below the directory of the loader; "" for no initrd.

    ``args`` is what the tree itself wants to be said to the kernel.
    """

    linux: str
    initrd: str
    args: str


def kernel_arguments(tree: str, kernel: Kernel, loader: Loader) -> str:
    """Return what a kernel is told; what counts no attempts has the initramfs do so (BT-25)."""
    words = (loader.root, "ro", f"rootman.tree={tree}", "" if loader.counts else "rootman.count")
    return " ".join(filter(None, (*words, kernel.args)))


def parse_entry(name: str) -> Entry | None:
    """Return the entry that a file of this name is, None for what is not ours."""
    found = _ENTRY.fullmatch(name)
    if found is None:
        return None
    return Entry(found[1], int(found[2]), None if found[3] is None else int(found[3]))


def wanted_entries(boot: BootState, links: Links, trees: Collection[str]) -> tuple[Entry, ...]:
    """Return the entries, so that the first of systemd-boot is the choice of BT-5 (BT-22).

    Those without an attempt left it puts last, in the same order. The best comes first.
    """
    places: dict[str, int] = {}
    for tree, reason in candidates(boot, links, trees):
        places.setdefault(tree, _PLACES[reason])
    entries = [Entry(tree, place, _left(boot, tree)) for tree, place in places.items()]
    if boot.once in trees:
        # Counted down before it is booted, it is the last from then on.
        entries.append(Entry(boot.once, ONCE, 1))
    return tuple(sorted(entries, key=lambda one: one.rank))


def _left(boot: BootState, tree: str) -> int | None:
    standing = trial.standing(boot, tree)
    return {"good": None, "pending": boot.tries, "bad": 0}[standing]


def read_back(
    boot: BootState, entries: Iterable[Entry], booted: str, trees: Collection[str]
) -> BootState:
    """Return the boot state with the attempts that systemd-boot has counted (BT-23).

    A trial whose last attempt is over, as another tree runs, has failed. One that something
    else has ended well, by taking the counter out of the name, has passed.
    """
    entries = tuple(entries)
    used = {one.tree for one in entries if one.place == ONCE and one.left == 0}
    if boot.once in used or boot.once not in trees:
        boot = replace(boot, once="")
    counters = [one.left for one in entries if one.tree == boot.pending and one.place != ONCE]
    left = [one for one in counters if one is not None]
    if counters and not left:
        return trial.mark_good(boot, boot.pending)
    if left:
        boot = replace(boot, tries=min(boot.tries, *left))
    return settle(boot) if booted in trees and booted != boot.pending else boot


def wanted(state: StoreState, leaving: Collection[str] = ()) -> Wanted:
    """Return what a menu is made from, without the trees that are ``leaving``."""
    loadable = state.menu.loadable if state.menu is not None else frozenset()
    links = links_of(state)
    trees = loadable.difference(leaving)
    return (
        state.boot or BootState(),
        Links(*(one if one in trees else "" for one in (links.current, links.previous))),
        trees,
    )


def told_boot(state: StoreState) -> BootState | None:
    """Return the boot state with what is to be read back from the menu."""
    menu = state.menu
    if state.boot is None or menu is None:
        return state.boot
    entries = filter(None, map(parse_entry, menu.found))
    return read_back(state.boot, entries, menu.booted, menu.loadable)


def is_settled(state: StoreState) -> bool:
    """Return whether nothing is to be read back from the menu, or to be written there."""
    loader, menu = state.settings.loader, state.menu
    if loader is None or menu is None or menu.problem:
        return True
    if told_boot(state) != state.boot:
        return False
    if not loader.counts:
        return menu.found == wanted_order(*wanted(state))
    found = [entry.name for name in menu.found if (entry := parse_entry(name)) is not None]
    return sorted(found) == sorted(one.name for one in wanted_entries(*wanted(state)))


def wanted_order(boot: BootState, links: Links, trees: Collection[str]) -> tuple[str, ...]:
    """Return the trees for extlinux, the first to be booted by itself (BT-24)."""
    choice = choose(replace(boot, once=""), links, trees)
    others = dict.fromkeys(tree for tree, _ in candidates(boot, links, trees))
    return tuple(dict.fromkeys((choice.tree, *others))) if choice.tree else ()


def extlinux_text(kernels: Mapping[str, Kernel], loader: Loader) -> str:
    """Return extlinux.conf for the trees in the order of ``kernels``."""
    lines = [f"{_MARK} {' '.join(kernels)}", "MENU TITLE rootman", "TIMEOUT 30"]
    lines += [f"DEFAULT {next(iter(kernels))}"] if kernels else []
    for tree, kernel in kernels.items():
        lines += [f"LABEL {tree}", f"\tLINUX {loader.prefix}/{kernel.linux}"]
        lines += [f"\tINITRD {loader.prefix}/{kernel.initrd}"] if kernel.initrd else []
        lines += [f"\tAPPEND {kernel_arguments(tree, kernel, loader)}"]
    return "".join(f"{line}\n" for line in lines)


def order_in(text: str) -> tuple[str, ...] | None:
    """Return the trees that an extlinux.conf of ours has, None for one of somebody else."""
    first = text.partition("\n")[0]
    return tuple(first.removeprefix(_MARK).split()) if first.startswith(_MARK) else None


def kernels_in(text: str) -> dict[str, tuple[str, str]]:
    """Return the kernel and the initrd of each tree that an entry, or an extlinux.conf, has."""
    return {
        found[1]: (_first(_LINUX, found[2]), _first(_INITRD, found[2]))
        for found in _SECTION.finditer(text)
        if _LINUX.search(found[2]) is not None
    }


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return f"{FOLDER}/{found[1]}" if found is not None else ""
