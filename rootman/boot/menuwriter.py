"""Making the menu of a loader what it is to be, with the kernels that it names.

A filesystem that loaders read is a FAT, mostly, which has no journal and no exchange of names. So
no name is given another content: what is new is written beside what is there, and made durable
before anything is removed (BT-21). ``extlinux.conf`` alone is replaced, by a rename. On Linux's FAT
an fsync of the directory leaves out where a file that was renamed begins, which is its inode's to
say: only syncfs, and then the fsync that empties the disk's cache, have all of it written.

Out of scope: what the menu is to say (``menu``), and looking at it (``menufiles``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.boot.label import label_in
from rootman.boot.menu import (
    FOLDER,
    Kernel,
    extlinux_text,
    parse_entry,
    wanted,
    wanted_entries,
    wanted_order,
)
from rootman.boot.menufiles import CONF, NEW, open_menu
from rootman.errors import InvalidInput
from rootman.fsops import open_inside, opened
from rootman.smallfiles import write_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from rootman.boot.menu import Entry
    from rootman.boot.menufiles import MenuFiles
    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.state import Settings, StoreState
    from rootman.store import Store

_PIECE: Final = 1 << 20


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
        texts = self._files.texts()
        there = {(parse_entry(name), text): name for name, text in texts.items()}
        known = self._files.known()
        kept: set[str] = set()
        for entry in entries:
            text = entry.text(self._kernel(entry.tree, known), self._files.loader)
            name = there.get((entry, text))
            if name is None:
                name = entry.name
                self._write(name, (text.encode(),), self._files.menu)
            kept.add(name)
        rest = [name for name in self._files.texts() if name not in kept]
        for name in sorted(rest, key=_rank, reverse=True):
            self._fs.unlink(name, dir_fd=self._files.menu)
            self._publish(self._files.menu)

    def _update_text(self, order: Iterable[str]) -> None:
        known = self._files.known()
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

    def _kernel(self, tree: str, known: dict[str, tuple[str, str]]) -> Kernel:
        """Return the files of a tree, copied where one is not there."""
        with opened(tree, dir_fd=self._store.fd) as root:
            label = label_in(root)
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
        label = label_in(root)
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
        for name in self._files.check_room(tree, sizes):
            sources[name].seek(0)
            pieces = iter(partial(sources[name].read, _PIECE), b"")
            self._write(name, pieces, kernels)

    def _write(self, name: str, pieces: Iterable[bytes], folder: int) -> None:
        """Have a file with a name, durably, that had another content or none before."""
        fs = self._fs
        with suppress(FileNotFoundError):
            fs.unlink(NEW, dir_fd=folder)
        write_file(fs, NEW, pieces, dir_fd=folder)
        fs.rename(NEW, name, source_fd=folder, target_fd=folder)
        self._publish(folder)

    def _publish(self, folder: int) -> None:
        self._fs.syncfs(folder)
        self._fs.fsync(folder)

    def _forget_kernels(self) -> None:
        """Remove the kernels that nothing in the menu names."""
        for name in self._files.unknown():
            self._fs.unlink(name, dir_fd=self._files.kernels)


def _rank(name: str) -> tuple[bool, int, tuple[int, ...]]:
    entry = parse_entry(name)
    return (True, 0, ()) if entry is None else entry.rank
