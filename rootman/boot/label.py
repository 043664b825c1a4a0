"""The label of a tree: ``boot/rootman.cfg``, by which a tree names itself to GRUB (BT-8).

And ``boot/rootman.env``, which says the same to U-Boot.

GRUB follows a link and cannot read it, so that the tree has to say what it is, and what of it
is to be loaded. The label is part of the tree: it is written before the tree is published.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput, NotFound, Refused
from rootman.execute import explained
from rootman.fsops import opened
from rootman.smallfiles import open_given, read_file, replace_file
from rootman.store import DEFAULT_ROOTFS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.fsops import Fs

FOLDER: Final = "boot"
FILE: Final = "rootman.cfg"
# The same for U-Boot, which reads variables.
ENVIRONMENT: Final = "rootman.env"
_NEW: Final = ".rootman.cfg.new"
_KERNEL: Final = "vmlinuz-"
_INITRD: Final = "initrd.img-"
# What GRUB takes in double quotes as it is.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ._/=,:@%+~-]*")
_TREE: Final = re.compile(rb"^set rootman_tree=(.*)$", re.MULTILINE)
_VALUE: Final = re.compile(r'^set rootman_(tree|linux|initrd|args)="?([^"\n]*)"?$', re.MULTILINE)
_LIMIT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Label:
    """What a tree says of itself: its name, and what is loaded of it, by paths in the tree.

    ``initrd`` may be "", for a kernel that needs none; ``args`` is for the kernel.
    """

    tree: str
    linux: str
    initrd: str = ""
    args: str = ""

    def serialise(self) -> bytes:
        """Return the content of the file.

        Raises:
            InvalidInput: something in it is not what GRUB would take as it is.
        """
        for value in (self.linux, self.initrd, self.args):
            if _PLAIN.fullmatch(value) is None:
                raise InvalidInput(f"{value!r} cannot be written for GRUB", hint="use no quotes")
        lines = [f"set rootman_tree={self.tree}", f'set rootman_linux="{self.linux}"']
        lines += [f'set rootman_initrd="{self.initrd}"'] if self.initrd else []
        lines += [f'set rootman_args="{self.args}"'] if self.args else []
        return "".join(f"{line}\n" for line in lines).encode()

    def serialise_variables(self) -> bytes:
        """Return the content of the file for U-Boot, which cannot cut a name into its parts."""
        number = self.tree.partition(".")[2]
        lines = [f"rootman_tree={self.tree}", f"rootman_number={number}"]
        lines += [f"rootman_linux={self.linux}"]
        lines += [f"rootman_initrd={self.initrd}"] if self.initrd else []
        lines += [f"rootman_args={self.args}"] if self.args else []
        return "".join(f"{line}\n" for line in lines).encode()


def write_label(
    fs: Fs, tree: str, title: str, *, linux: str | None, initrd: str | None, args: str
) -> Label:
    """Write the label ``title`` into the directory ``tree``; what is so already stays.

    Without ``linux`` it is the newest ``/boot/vmlinuz-*``, and without ``initrd`` the one that
    belongs to it, if there is one.

    Raises:
        NotFound: there is no such tree, kernel or initrd.
        InvalidInput: the label cannot be written so that GRUB reads it.
        Refused: the tree is one of a store: what is sealed does not change.
        SystemFailure: the system refused.
    """
    _refuse_store(tree)
    with explained(f"{tree}: writing the label"), _boot_folder(tree) as folder:
        label = _complete(tree, folder, title, linux=linux, initrd=initrd, args=args)
        for name, data in (
            (FILE, label.serialise()),
            (ENVIRONMENT, label.serialise_variables()),
        ):
            if read_file(name, _LIMIT, dir_fd=folder) != data:
                replace_file(fs, name, data, new=_NEW, dir_fd=folder, mode=0o644)
    return label


def read_label(tree: str) -> Label | None:
    """Return the label of the directory ``tree``, None where it has none that names a kernel.

    Raises:
        OSError: it cannot be read.
    """
    with _boot_folder(tree) as folder:
        data = read_file(FILE, _LIMIT, dir_fd=folder)
    return _parse(data or b"")


def label_in(tree_fd: int) -> Label | None:
    """Return the label of the tree that is open, None where it has none by which it boots."""
    label = _parse(_read(tree_fd))
    if label is None or not label.tree:
        return None
    plain = all(map(_PLAIN.fullmatch, (label.linux, label.initrd, label.args)))
    return label if plain else None


def _parse(data: bytes) -> Label | None:
    found = dict(_VALUE.findall(data.decode("ascii", "replace")))
    if not found.get("linux"):
        return None
    return Label(
        found.get("tree", ""), found["linux"], found.get("initrd", ""), found.get("args", "")
    )


def _read(tree_fd: int) -> bytes:
    """Return the content of the label, nothing where there is none."""
    try:
        with opened(FOLDER, dir_fd=tree_fd) as folder:
            return read_file(FILE, _LIMIT, dir_fd=folder) or b""
    except OSError:
        return b""  # no directory to be opened without following a symlink: no label


def find_faults(tree: str) -> list[str]:
    """Return what a tree lacks to come up as it should; it boots all the same (BT-42)."""
    home = DEFAULT_ROOTFS
    try:
        is_there = stat.S_ISDIR(os.lstat(_inside(tree, home)).st_mode)
    except OSError:
        is_there = False
    if is_there:
        return []
    fault = f"{tree} has no directory {home}: no store will be there, and no guard comes up"
    return [f"{fault} (hint: mkdir {_inside(tree, home)})"]


def find_unlabelled(store: str, trees: Iterable[str], file: str, loader: str) -> tuple[str, ...]:
    """Return which ``trees`` of a store a loader cannot load, for they have no label ``file``."""
    return tuple(
        f"{name} has no {FOLDER}/{file}: {loader} cannot load it"
        f" (hint: rootman boot label, before it is published)"
        for name in trees
        if not os.path.exists(os.path.join(store, name, FOLDER, file))
    )


def check_label(tree_fd: int, name: str, origin: str) -> None:
    """Refuse a tree that names itself otherwise than it is about to be called (BT-8).

    Raises:
        InvalidInput: its label names another tree.
    """
    found = _TREE.search(_read(tree_fd))
    if found is not None and found[1] != name.encode():
        label = found[1].decode("ascii", "backslashreplace")
        version = name.rpartition(".")[2]
        raise InvalidInput(
            f"{origin}/{FOLDER}/{FILE} says that this is {label}, not {name}",
            hint=f"rootman boot label {origin} --version {version}",
        )


@contextmanager
def _boot_folder(tree: str) -> Iterator[int]:
    root = open_given(tree)
    try:
        with opened(FOLDER, dir_fd=root) as folder:
            yield folder
    finally:
        os.close(root)


def _refuse_store(tree: str) -> None:
    parent = os.path.dirname(os.path.realpath(tree))
    if os.path.isdir(os.path.join(parent, ".rootman")):
        raise Refused(f"{tree} is a tree of a store and stays as it is", hint="label its source")


def _complete(
    tree: str, folder: int, name: str, *, linux: str | None, initrd: str | None, args: str
) -> Label:
    if linux is None:
        kernel = newest_kernel(os.listdir(folder))
        if not kernel:
            raise NotFound(f"{tree}/{FOLDER} has no {_KERNEL}*", hint="name it: --linux PATH")
        linux = f"/{FOLDER}/{kernel}"
    if initrd is None:
        initrd = f"/{FOLDER}/{initrd_of(os.path.basename(linux))}"
        initrd = initrd if os.path.lexists(_inside(tree, initrd)) else ""
    for path in filter(None, (linux, initrd)):
        if not os.path.lexists(_inside(tree, path)):
            raise NotFound(f"{tree} has no {path}")
    return Label(name, f"/{linux.lstrip('/')}", initrd and f"/{initrd.lstrip('/')}", args)


def newest_kernel(names: Iterable[str]) -> str:
    """Return which of the names in a tree's ``boot`` is its newest kernel, "" for none."""
    return max((one for one in names if one.startswith(_KERNEL)), key=_age, default="")


def initrd_of(kernel: str) -> str:
    """Return how the initrd of a kernel is called, by its name."""
    return f"{_INITRD}{kernel.removeprefix(_KERNEL)}"


def _inside(tree: str, path: str) -> str:
    return os.path.join(tree, path.lstrip("/"))


def _age(name: str) -> list[tuple[int, str]]:
    """Return what kernels are ordered by: numbers as numbers, the rest as text."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
