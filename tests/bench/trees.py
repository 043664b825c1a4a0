"""Trees to measure with: the same ones on every machine, without a mirror.

A tree has as many directories and symlinks to the file as a Debian system, give
or take, and each version of it differs from the one before in the content of some
files. Out of scope: where trees are kept (see ``images``).
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUILT: Final = 1_700_000_000
_SIZES: Final = (120, 700, 1800, 3600, 9000)
_FILES: Final = 10  # in a package's directory, and a symlink
_PER_SECTION: Final = 100


@dataclass(frozen=True, slots=True)
class TreeSpec:
    """A tree and its versions.

    ``entries`` counts all entries but the root; ``changed`` is the number of files in
    which a version differs from the one before. They lie scattered over the whole tree,
    which is the hardest, or are those of ``whole_packages``. ``tiny`` files fit into an
    inode.
    """

    entries: int
    changed: int
    tiny: bool = False
    whole_packages: bool = False

    @property
    def name(self) -> str:
        """A name for caches."""
        kinds = "-tiny" * self.tiny + "-packages" * self.whole_packages
        return f"{self.entries}-{self.changed}{kinds}"

    def changes(self, version: int) -> list[int]:
        """Return the numbers of the files that ``version`` changed, in ascending order."""
        if version == 1:
            return []
        count = sum(1 for _, kind in _layout(self.entries) if kind == "file")
        chance = random.Random(version)
        if not self.whole_packages:
            return sorted(chance.sample(range(count), self.changed))
        packages = chance.sample(range(count // _FILES), self.changed // _FILES)
        return sorted(package * _FILES + file for package in packages for file in range(_FILES))

    def changed_paths(self, version: int) -> list[str]:
        """Return the paths of the files that ``version`` changed."""
        wanted = set(self.changes(version))
        files = (path for path, kind in _layout(self.entries) if kind == "file")
        return [path for number, path in enumerate(files) if number in wanted]


def write_tree(root: str, spec: TreeSpec, version: int) -> None:
    """Make the directory ``root`` with the tree of this version in it."""
    latest = _latest_versions(spec, version)
    blob = random.Random(0).randbytes(1 << 20).hex().encode()
    directories = [root]
    os.mkdir(root, 0o755)
    number = 0
    for path, kind in _layout(spec.entries):
        place = f"{root}/{path}"
        if kind == "dir":
            os.mkdir(place, 0o755)
            directories.append(place)
        elif kind == "link":
            os.symlink("file0", place)
            os.utime(place, (_BUILT, _BUILT), follow_symlinks=False)
        else:
            _write_file(place, spec, number, latest.get(number, 1), blob)
            number += 1
    for place in directories:
        os.utime(place, (_BUILT, _BUILT))


def advance_tree(root: str, spec: TreeSpec, version: int) -> None:
    """Make the tree at ``root``, which is of the version before, one of ``version``."""
    blob = random.Random(0).randbytes(1 << 20).hex().encode()
    pairs = zip(spec.changes(version), spec.changed_paths(version), strict=True)
    for number, path in pairs:
        place = f"{root}/{path}"
        os.unlink(place)
        _write_file(place, spec, number, version, blob)
        os.utime(os.path.dirname(place), (_BUILT, _BUILT))


def _latest_versions(spec: TreeSpec, version: int) -> dict[int, int]:
    """Return for each file that changed since version 1 the version that did it last."""
    return {number: one for one in range(2, version + 1) for number in spec.changes(one)}


def _layout(entries: int) -> Iterator[tuple[str, str]]:
    """Yield the path and kind of each entry, parents first."""
    made = index = 0
    while made < entries:
        if index % _PER_SECTION == 0:
            yield f"section{index // _PER_SECTION:03d}", "dir"
            made += 1
        path = f"section{index // _PER_SECTION:03d}/package{index:06d}"
        inside = [(path, "dir"), (f"{path}/link", "link")]
        inside += [(f"{path}/file{number}", "file") for number in range(_FILES)]
        yield from inside[: entries - made]
        made += len(inside)
        index += 1


def _write_file(place: str, spec: TreeSpec, number: int, version: int, blob: bytes) -> None:
    content = b"file %d of version %d\n" % (number, version)
    if not spec.tiny:
        start = number * 7919 % len(blob)
        content += blob[start : start + _SIZES[number % len(_SIZES)]]
    with open(place, "xb") as file:
        file.write(content)
    built = _BUILT + 86400 * (version - 1)
    os.utime(place, (built, built))
