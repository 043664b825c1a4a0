"""The menu of a loader on a filesystem of its own, as it is found there.

Out of scope: what the menu is to say (``menu``), and writing it (``menuwriter``).
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rootman.boot.label import FOLDER as LABEL_FOLDER
from rootman.boot.label import initrd_of, label_in, newest_kernel
from rootman.boot.loader import SYSTEMD_BOOT
from rootman.boot.menu import (
    FOLDER,
    KERNEL_FILE,
    is_settled,
    kernels_in,
    order_in,
    parse_entry,
)
from rootman.boot.running import booted_name
from rootman.errors import NoSpace, Refused
from rootman.fsops import opened
from rootman.manifest import parse_line
from rootman.room import room_of
from rootman.smallfiles import read_file
from rootman.state import Menu

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rootman.boot.label import Label
    from rootman.boot.loader import Loader
    from rootman.comparison import Change
    from rootman.state import Settings, StoreState
    from rootman.store import Store

TOKEN: Final = "store"  # noqa: S105  a name of a file
CONF: Final = "extlinux.conf"
_FOLDERS: Final = {SYSTEMD_BOOT: "loader/entries"}
NEW: Final = "rootman.new"
_LIMIT: Final = 1 << 16
_MIB: Final = 1 << 20
_SPARE_ROOM: Final = 1 << 16  # bytes for entries and directories


def check_kernel_room(settings: Settings, tree: str, changes: Iterable[Change]) -> None:
    """Refuse a tree whose kernel will not fit, before anything of it is fetched (S6).

    The label of the tree is not here yet: the kernel that it names is taken to be the
    newest of those that are new. ``keep_kernel`` looks again, and at the right one.

    Raises:
        NoSpace: it says how much is missing.
        Refused: the menu is not there.
    """
    if settings.loader is None:
        return
    boot = f"{LABEL_FOLDER}/".encode()
    found = {}
    for change in changes:
        if change.new is not None and change.field.startswith(b"./" + boot):
            entry = parse_line(change.new)
            found[os.fsdecode(entry.path.removeprefix(boot))] = entry
    linux = newest_kernel(found)
    with open_menu(settings.loader) as files:
        sizes = {
            f"{found[name].sha256[:32]}.{kind}": found[name].size
            for kind, name in (("linux", linux), ("initrd", initrd_of(linux)))
            if name in found and found[name].sha256
        }
        files.check_room(tree, sizes)


def menu_folder(kind: str) -> str:
    """Return where a loader has its menu, below its own directory."""
    return _FOLDERS.get(kind, "extlinux")


class MenuFiles:
    """The open directories of a loader: ``root`` its own, ``menu``, and ``kernels``."""

    def __init__(self, loader: Loader, root: int, menu: int, kernels: int) -> None:
        self.loader = loader
        self.root = root
        self.menu = menu
        self.kernels = kernels

    def found(self) -> tuple[str, ...]:
        """Return what the menu has: entries by their names, or trees in their order."""
        if self.loader.kind == SYSTEMD_BOOT:
            # What a power cut left without its content is none (BT-21).
            return tuple(name for name, text in self.texts().items() if kernels_in(text))
        return order_in(self._read(CONF)) or ()

    def texts(self) -> dict[str, str]:
        """Return the files of the menu that are ours by their names, whatever is in them."""
        names = [CONF]
        if self.loader.kind == SYSTEMD_BOOT:
            names = sorted(name for name in os.listdir(self.menu) if parse_entry(name) is not None)
        return {name: self._read(name) for name in names}

    def known(self) -> dict[str, tuple[str, str]]:
        """Return the kernel and the initrd of each tree in the menu."""
        known: dict[str, tuple[str, str]] = {}
        for text in self.texts().values():
            known.update(kernels_in(text))
        return known

    def unknown(self) -> list[str]:
        """Return the kernels, whole or not, that nothing in the menu names."""
        named = {os.path.basename(path) for pair in self.known().values() for path in pair}
        return [
            name
            for name in os.listdir(self.kernels)
            if (KERNEL_FILE.fullmatch(name) and name not in named) or name == NEW
        ]

    def check_room(self, tree: str, sizes: Mapping[str, int]) -> list[str]:
        """Return which kernels of these sizes are to be copied, if there is room for them.

        Raises:
            NoSpace: it says how much is missing.
        """
        missing = [name for name, size in sizes.items() if _size(name, self.kernels) != size]
        needed = sum(sizes[name] for name in missing) + _SPARE_ROOM
        # What is not in the menu goes first, but for what is wanted.
        forgotten = [name for name in self.unknown() if name not in sizes]
        freed = sum(_size(name, self.kernels) for name in forgotten)
        room = room_of(self.kernels).free_bytes + freed
        if missing and needed > room:
            raise NoSpace(
                f"{self.loader.path}: the kernel of {tree} needs {needed / _MIB:.1f} MiB"
                f" and {room / _MIB:.1f} MiB are free",
                hint="rootman prune, or a larger filesystem for it",
            )
        return missing

    def _read(self, name: str) -> str:
        return (read_file(name, _LIMIT, dir_fd=self.menu) or b"").decode("utf-8", "replace")


@contextmanager
def open_menu(loader: Loader) -> Iterator[MenuFiles]:
    """Have the menu of a loader open.

    Raises:
        Refused: what is at its path is not what belongs to this store.
    """
    with ExitStack() as stack:
        try:
            root = os.open(loader.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, root)
            kernels = stack.enter_context(opened(FOLDER, dir_fd=root))
            token = read_file(TOKEN, _LIMIT, dir_fd=kernels)
            menu = stack.enter_context(opened(menu_folder(loader.kind), dir_fd=root))
        except OSError:
            token = None
        if token is None or token.decode("ascii", "replace").strip() != loader.token:
            raise Refused(f"the boot menu is not at {loader.path}", hint=loader.hint)
        yield MenuFiles(loader, root, menu, kernels)


def look_at_menu(store: Store, state: StoreState, loader: Loader) -> Menu:
    """Return what is known of the menu of ``loader``, and of the trees that it could load.

    Raises:
        OSError: the store cannot be read.
    """
    try:
        with open_menu(loader) as files:
            found = files.found()
    except Refused as refusal:
        return Menu(problem=str(refusal))
    except OSError as error:
        return Menu(problem=f"the boot menu at {loader.path} cannot be read: {error.strerror}")
    loadable = frozenset(name for name in state.sealed_names if _label(store, name) is not None)
    menu = Menu(found, loadable, booted_name())
    return replace(menu, is_settled=is_settled(replace(state, menu=menu)))


def _label(store: Store, tree: str) -> Label | None:
    with opened(tree, dir_fd=store.fd) as fd:
        return label_in(fd)


def _size(name: str, dir_fd: int) -> int:
    try:
        return os.stat(name, dir_fd=dir_fd).st_size
    except FileNotFoundError:
        return -1
