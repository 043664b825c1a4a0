"""The trees of a matrix and their mounts: a farm of hardlinks, and a store with seal records.

| situation | who has the inodes of the subject, and of what else is in the cell |
|---|---|
| shared | two other trees |
| pair | two other trees, and the subject has two names in each |
| private, private pair | no other tree |
| sealed, sealed pair | the tree was sealed with them, no other tree has them any more |
| sealed and shared | the tree was sealed with them, two other trees have them |

Out of scope: what is done there (``matrix``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.builders import build, file
from tests.cow.cells import FILES, SYMLINK, matrix_tree
from tests.cow.guarding import end, guarding, mount
from tests.cow.matrix import Matrix
from tests.cow.served import serving
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.cow.matrix import CellName
    from tests.cow.operations import Operation

SHARED: Final = "shared"
PAIR: Final = "pair"
PRIVATE: Final = "private"
PRIVATE_PAIR: Final = "private pair"
SEALED: Final = "sealed"
SEALED_PAIR: Final = "sealed pair"
SEALED_AND_SHARED: Final = "sealed and shared"
PAIRS: Final = frozenset({PAIR, PRIVATE_PAIR, SEALED_PAIR})

IN_FARM: Final = (SHARED, PAIR, PRIVATE, PRIVATE_PAIR)
IN_STORE: Final = (SEALED, SEALED_PAIR, SEALED_AND_SHARED)
_GUARDED: Final = 2  # the version


def cells(operation: Operation, situations: Sequence[str]) -> list[CellName]:
    """Return the cells of an operation; fifos and devices are not linked between versions."""
    return [
        (situation, operation.name, kind)
        for situation in situations
        for kind in operation.kinds
        if kind in (*FILES, SYMLINK) or situation in IN_FARM
    ]


def make_farm(home: Path, wanted: Sequence[CellName]) -> Matrix:
    """Make a tree, two others that share what is to be shared, and a plain copy."""
    home.mkdir()
    tree, others = home / "one", (home / "two", home / "three")
    build(tree, matrix_tree(wanted, PAIRS))
    for other in others:
        other.mkdir()
        for situation in {cell[0] for cell in wanted}:
            how = "-al" if situation in (SHARED, PAIR) else "-a"
            subprocess.run(("cp", how, tree / situation, other), check=True)
    subprocess.run(("cp", "-a", tree, home / "plain"), check=True)
    for name in ("mnt", "late"):
        (home / name).mkdir()
    return Matrix(
        tree, home / "mnt", home / "plain", others, home / "late",
        home / f".{tree.name}.rootman-guard", PAIRS,
    )  # fmt: skip


@contextmanager
def guarded_farm(home: Path, wanted: Sequence[CellName]) -> Iterator[Matrix]:
    """Mount a farm, as ``rootman mount --tree`` does."""
    with make_farm(home, wanted) as matrix, guarding(matrix.tree, matrix.mnt):
        yield matrix


@contextmanager
def forked_farm(home: Path, wanted: Sequence[CellName]) -> Iterator[Matrix]:
    """Have a fork of this process, with what is patched in it, guard a farm with a seal record."""
    with make_farm(home, wanted) as matrix:
        matrix.watch(cell for cell in wanted if cell[0] in IN_STORE)
        inodes = [
            os.lstat(os.path.join(directory, name)).st_ino
            for directory, _, names in os.walk(matrix.tree / SEALED)
            for name in names
        ]
        with serving(matrix.tree, matrix.mnt, sealed=inodes):
            yield matrix


def _make_store(home: Path, wanted: Sequence[CellName]) -> Lab:
    """Make a store with versions 2 to 4; what is sealed in 2 alone was in 1, too."""
    lab = Lab(home)
    full = matrix_tree(wanted, PAIRS)
    shared = {name: one for name, one in full.items() if name.startswith(SEALED_AND_SHARED)}
    build(lab.source(1), full)
    lab.init(lab.source(1), version=1)
    shutil.rmtree(lab.source(1))  # which is linked to the tree
    for version, tree in ((2, full), (3, shared), (4, shared)):
        lab.publish(version, {**tree, "version": file(str(version))})
        lab.upgrade(version)
        if version == _GUARDED:
            lab.pin(version)
    return lab


@contextmanager
def guarded_store(home: Path, wanted: Sequence[CellName]) -> Iterator[Matrix]:
    """Mount a version of a store, as ``rootman mount N`` does."""
    home.mkdir()
    lab = _make_store(home, wanted)
    tree = lab.tree(_GUARDED)
    subprocess.run(("cp", "-a", tree, home / "plain"), check=True)
    (home / "late").mkdir()
    matrix = Matrix(
        tree, home / "mnt", home / "plain", (lab.tree(3), lab.tree(4), lab.spare(4)), home / "late",
        lab.control / f"guard/{_GUARDED}", PAIRS,
    )  # fmt: skip
    with matrix:
        matrix.watch(wanted)
        guard = mount("--rootfs", lab.store, "mount", str(_GUARDED), tree=tree, mnt=matrix.mnt)
        try:
            yield matrix
            guard.unmount()
        finally:
            end(guard)
