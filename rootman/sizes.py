"""How many bytes the trees of a store share, from their seal records.

The answer changes only with the set of trees, so it is kept in a small file and
computed again when that set is another. A store that cannot be written gets its
answer all the same.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput
from rootman.store import INODES_FILE, MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.state import Tree
    from rootman.store import Store

_FILE: Final = "sizes.json"
_NEW: Final = "sizes.json.new"


@dataclass(frozen=True, slots=True)
class TreeSize:
    """Bytes of file content that a tree shares with others of the store, and that it alone has."""

    shared: int
    exclusive: int


def tree_sizes(
    store: Store, make_fs: Callable[[], Fs], trees: Sequence[Tree]
) -> dict[TreeNumber, TreeSize]:
    """Return the sizes of the sealed ``trees``; ``make_fs`` is called where they are not known yet.

    Raises:
        InvalidInput: a seal record is damaged.
        OSError: one cannot be read.
    """
    sealed = [tree for tree in trees if tree.seal is not None]
    key = [_key(store, tree) for tree in sealed]
    sizes = _known(_read(store), key, [tree.number for tree in sealed])
    if sizes is None:
        sizes = _compute(store, sealed)
        pairs = {str(number): [size.shared, size.exclusive] for number, size in sizes.items()}
        _keep(store, make_fs(), {"key": key, "sizes": pairs})
    return sizes


def _key(store: Store, tree: Tree) -> list[object]:
    """Return what changes whenever the sizes of ``tree`` may: repair makes new inodes."""
    status = os.stat(f"{tree.number}/{INODES_FILE}", dir_fd=store.trees, follow_symlinks=False)
    return [str(tree.number), tree.seal.manifest if tree.seal else "", status.st_mtime_ns]


def _known(
    document: dict[str, object], key: object, numbers: Sequence[TreeNumber]
) -> dict[TreeNumber, TreeSize] | None:
    """Return the sizes in ``document``, None where they are not those of ``key``."""
    sizes = document.get("sizes")
    if document.get("key") != key or not isinstance(sizes, dict):
        return None
    known: dict[TreeNumber, TreeSize] = {}
    for number in numbers:
        match sizes.get(str(number)):
            case [int(shared), int(exclusive)]:
                known[number] = TreeSize(shared, exclusive)
            case _:
                return None
    return known


def freed_size(store: Store, trees: Sequence[Tree], victims: Collection[TreeNumber]) -> int:
    """Return the bytes of file content that go with the ``victims``, a part of the ``trees``.

    Raises:
        InvalidInput: a seal record is damaged.
        OSError: one cannot be read.
    """
    sets = _inodes(store, trees)
    kept = set[int]().union(*(sets[number] for number in sets if number not in victims))
    size = 0
    for tree in trees:
        if tree.number in victims and tree.seal is not None:
            alone = sets[tree.number] - kept
            kept |= alone  # what two victims share goes once
            size += _size_of(store, tree, alone) if alone else 0
    return size


def _read(store: Store) -> dict[str, object]:
    try:
        with open(os.open(_FILE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=store.control)) as file:
            document = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _keep(store: Store, fs: Fs, document: dict[str, object]) -> None:
    """Keep the answer; nothing is lost where that fails, and a torn file is not believed."""
    with suppress(OSError):
        fs.unlink(_NEW, dir_fd=store.control)  # left by one that was killed
    with suppress(OSError):
        fd = fs.create(_NEW, dir_fd=store.control)
        try:
            fs.write(fd, json.dumps(document).encode())
        finally:
            os.close(fd)
        fs.rename(_NEW, _FILE, source_fd=store.control, target_fd=store.control)


def _compute(store: Store, trees: Sequence[Tree]) -> dict[TreeNumber, TreeSize]:
    """Count each inode of a tree once, as exclusive where no other tree has it."""
    sets = _inodes(store, trees)
    sizes: dict[TreeNumber, TreeSize] = {}
    for tree in trees:
        alone = set(sets[tree.number])
        for number, inodes in sets.items():
            if number != tree.number:
                alone -= inodes
        total = tree.seal.size if tree.seal else 0
        exclusive = _size_of(store, tree, alone) if alone else 0
        sizes[tree.number] = TreeSize(total - exclusive, exclusive)
    return sizes


def _inodes(store: Store, trees: Sequence[Tree]) -> dict[TreeNumber, set[int]]:
    from rootman.verify import open_tree

    sets: dict[TreeNumber, set[int]] = {}
    for tree in trees:
        if tree.seal is not None:
            with open_tree(store, tree) as (_, record):
                sets[tree.number] = set(record.inodes())
    return sets


def _size_of(store: Store, tree: Tree, inodes: set[int]) -> int:
    from rootman.comparison import known_lines
    from rootman.totals import content_size
    from rootman.verify import open_tree

    size = 0
    with open_tree(store, tree) as (_, record), record.manifest() as stream:
        try:
            for inode, line in zip(record.inodes(), known_lines(stream), strict=True):
                if inode in inodes:
                    size += content_size(line)
                    inodes.discard(inode)
        except ValueError as error:  # fewer lines than inodes, or no size in one
            raise InvalidInput(f"{record.origin}/{MANIFEST_FILE}: damaged") from error
    return size
