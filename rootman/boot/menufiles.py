"""The menu of a loader on a filesystem of its own: looked at, and made what it is to be.

Such a filesystem is a FAT, mostly, which has no journal and no exchange of names. So no name is
given another content: what is new is written beside what is there, and made durable before
anything is removed (BT-21). ``extlinux.conf`` alone is replaced, by a rename. On Linux's FAT
an fsync of the directory leaves out where a file that was renamed begins, which is its inode's to
say: only syncfs, and then the fsync that empties the disk's cache, have all of it written.

Out of scope: what the menu is to say (``menu``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.boot.label import read_label
from rootman.boot.loader import SYSTEMD_BOOT
from rootman.boot.menu import (
    FOLDER,
    KERNEL_FILE,
    Kernel,
    extlinux_text,
    is_settled,
    kernels_in,
    order_in,
    parse_entry,
    wanted,
    wanted_entries,
    wanted_order,
)
from rootman.boot.running import booted_name
from rootman.errors import InvalidInput, NoSpace, Refused
from rootman.fsops import open_inside, opened
from rootman.room import room_of
from rootman.smallfiles import read_file
from rootman.state import Menu

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from rootman.boot.label import Label
    from rootman.boot.loader import Loader
    from rootman.boot.menu import Entry
    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.state import Settings, StoreState
    from rootman.store import Store

TOKEN: Final = "store"  # noqa: S105  a name of a file
CONF: Final = "extlinux.conf"
_FOLDERS: Final = {SYSTEMD_BOOT: "loader/entries"}
_NEW: Final = "rootman.new"
_LIMIT: Final = 1 << 16
_PIECE: Final = 1 << 20
_MIB: Final = 1 << 20
_SPARE_ROOM: Final = 1 << 16  # bytes for entries and directories


def update_menu(
    fs: Fs, store: Store, state: StoreState, leaving: Collection[TreeNumber] = ()
) -> None:
    """Make the menu of the loader that of ``state``; without such a loader nothing is done.

    Raises:
        RootmanError: as ``MenuWriter.update``, or the menu is not there.
        OSError: the system refused.
    """
    if state.settings.loader is not None:
        with open_menu(state.settings.loader) as files:
            MenuWriter(fs, store, files).update(state, leaving)


def keep_kernel(fs: Fs, store: Store, settings: Settings, tree: str, root: int) -> None:
    """Have the kernel of a tree that is not sealed yet where the loader finds it.

    Raises:
        RootmanError: as ``MenuWriter.keep_kernel``, or the menu is not there.
        OSError: the system refused.
    """
    if settings.loader is not None:
        with open_menu(settings.loader) as files:
            MenuWriter(fs, store, files).keep_kernel(tree, root)


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
    sealed = (tree.name for tree in state.trees if tree.seal is not None)
    loadable = frozenset(name for name in sealed if _label(store, name) is not None)
    menu = Menu(found, loadable, booted_name())
    return replace(menu, is_settled=is_settled(replace(state, menu=menu)))


def _label(store: Store, tree: str) -> Label | None:
    with opened(tree, dir_fd=store.fd) as fd:
        return read_label(fd)


class MenuWriter:
    """Makes the menu what it is to be; ``files`` are open for as long as that takes."""

    def __init__(self, fs: Fs, store: Store, files: MenuFiles) -> None:
        self._fs = fs
        self._store = store
        self._files = files

    def update(self, state: StoreState, leaving: Collection[TreeNumber]) -> None:
        """Make the menu that of ``state``, without the trees that are about to leave.

        Raises:
            NoSpace: a kernel does not fit.
            InvalidInput: a tree has no kernel where it says.
            OSError: the system refused; old entries may be left beside new ones.
        """
        gone = {state.name_of(number) for number in leaving}
        if self._files.loader.counts:
            self._update_entries(wanted_entries(*wanted(state, gone)))
        else:
            self._update_text(wanted_order(*wanted(state, gone)))
        self._forget_kernels()

    def _update_entries(self, entries: Iterable[Entry]) -> None:
        """Write the new ones, the best first; then remove what is not wanted, the best last.

        So in between the first of all is the first of before, or the first of now (BT-21).
        """
        there: dict[Entry, str] = {}
        for name in self._files.found():
            entry = parse_entry(name)
            if entry is not None:
                there.setdefault(entry, name)
        texts = self._files.texts()
        known = self._known()
        kept: set[str] = set()
        for entry in entries:
            text = entry.text(self._kernel(entry.tree, known), self._files.loader)
            if texts.get(there.get(entry, "")) == text:
                kept.add(there[entry])
            else:
                self._write(entry.name, (text.encode(),), self._files.menu)
                kept.add(entry.name)
        rest = [name for name in self._files.texts() if name not in kept]
        for name in sorted(rest, key=_rank, reverse=True):
            self._fs.unlink(name, dir_fd=self._files.menu)
            self._publish(self._files.menu)

    def _update_text(self, order: Iterable[str]) -> None:
        known = self._known()
        kernels = {tree: self._kernel(tree, known) for tree in order}
        text = extlinux_text(kernels, self._files.loader)
        if self._files.texts()[CONF] != text:
            self._write(CONF, (text.encode(),), self._files.menu)

    def keep_kernel(self, tree: str, root: int) -> None:
        """Have the kernel of a tree that is open as ``root``, and is to be sealed as ``tree``.

        Kernels that no entry names are removed first: they may be of one that was never sealed.

        Raises:
            NoSpace: it does not fit.
            InvalidInput: the tree has none, or does not say which.
            OSError: the system refused.
        """
        self._forget_kernels()
        self._copy(tree, root)

    def _known(self) -> dict[str, tuple[str, str]]:
        known: dict[str, tuple[str, str]] = {}
        for text in self._files.texts().values():
            known.update(kernels_in(text))
        return known

    def _kernel(self, tree: str, known: dict[str, tuple[str, str]]) -> Kernel:
        """Return the files of a tree, copied where one is not there."""
        with opened(tree, dir_fd=self._store.fd) as root:
            label = read_label(root)
            if label is not None and tree in known:
                linux, initrd = known[tree]
                if all(map(self._has, filter(None, (linux, initrd)))):
                    return Kernel(linux, initrd, label.args)
            return self._copy(tree, root)

    def _has(self, path: str) -> bool:
        try:
            return os.stat(path, dir_fd=self._files.root).st_size > 0
        except FileNotFoundError:
            return False

    def _copy(self, tree: str, root: int) -> Kernel:
        label = read_label(root)
        if label is None:
            raise InvalidInput(
                f"{tree} does not say which kernel it boots",
                hint="rootman boot label, before it is published",
            )
        with ExitStack() as stack:
            sources = {}
            for kind, path in (("linux", label.linux), ("initrd", label.initrd)):
                if path:
                    try:
                        file = stack.enter_context(open(open_inside(path, dir_fd=root), "rb"))
                    except OSError as error:
                        raise InvalidInput(f"{tree} has no {path}: {error.strerror}") from error
                    sources[f"{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}.{kind}"] = file
            self._put(tree, sources)
        linux, *initrd = (f"{FOLDER}/{name}" for name in sources)
        return Kernel(linux, initrd[0] if initrd else "", label.args)

    def _put(self, tree: str, sources: Mapping[str, BinaryIO]) -> None:
        """Copy what is not there in its whole length, if all of it fits."""
        kernels = self._files.kernels
        sizes = {name: os.fstat(file.fileno()).st_size for name, file in sources.items()}
        missing = [name for name, size in sizes.items() if _size(name, kernels) != size]
        needed = sum(sizes[name] for name in missing) + _SPARE_ROOM
        room = room_of(kernels).free_bytes
        if missing and needed > room:
            raise NoSpace(
                f"{self._files.loader.path}: the kernel of {tree} needs {needed / _MIB:.1f} MiB"
                f" and {room / _MIB:.1f} MiB are free",
                hint="rootman prune, or a larger filesystem for it",
            )
        for name in missing:
            sources[name].seek(0)
            pieces = iter(partial(sources[name].read, _PIECE), b"")
            self._write(name, pieces, kernels)

    def _write(self, name: str, pieces: Iterable[bytes], folder: int) -> None:
        """Have a file with a name, durably, that had another content or none before."""
        fs = self._fs
        with suppress(FileNotFoundError):
            fs.unlink(_NEW, dir_fd=folder)
        fd = fs.create(_NEW, dir_fd=folder)
        try:
            for piece in pieces:
                fs.write(fd, piece)
            fs.fsync(fd)
        finally:
            os.close(fd)
        fs.rename(_NEW, name, source_fd=folder, target_fd=folder)
        self._publish(folder)

    def _publish(self, folder: int) -> None:
        self._fs.syncfs(folder)
        self._fs.fsync(folder)

    def _forget_kernels(self) -> None:
        """Remove the kernels that nothing in the menu names."""
        named = {os.path.basename(path) for pair in self._known().values() for path in pair}
        for name in os.listdir(self._files.kernels):
            if (KERNEL_FILE.fullmatch(name) and name not in named) or name == _NEW:
                self._fs.unlink(name, dir_fd=self._files.kernels)


def _rank(name: str) -> tuple[bool, int, tuple[int, ...]]:
    entry = parse_entry(name)
    return (True, 0, ()) if entry is None else entry.rank


def _size(name: str, dir_fd: int) -> int:
    try:
        return os.stat(name, dir_fd=dir_fd).st_size
    except FileNotFoundError:
        return -1
