"""Repositories with exactly one flaw, stores to try them on, and what must come of it.

A copy of a good repository is changed in one way, and what depends on it (hashes,
counts, the release) is made to fit again, so that a test meets the flaw it means.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import zstandard

from rootman.fsops import RealFs
from rootman.manifest import HEADER, line_path
from rootman.repo.repository import Repository
from rootman.session import session
from rootman.upgrade import Options, upgrade
from tests.builders import Tree, char, fifo, file, hardlink, symlink
from tests.commands import Machine
from tests.stores import Lab, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from rootman.errors import RootmanError
    from rootman.fsops import Fs


class BadRepository:
    """A repository at ``path``, copied from ``good``; ``version`` is the release to be spoilt."""

    def __init__(self, good: Path, path: Path, version: int) -> None:
        self.path = path
        self.version = version
        shutil.copytree(good, path)

    @property
    def release(self) -> Path:
        return self.path / f"releases/{self.version}.json"

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.release.read_bytes())
        return found

    def save(self, document: dict[str, Any]) -> None:
        self.release.write_text(json.dumps(document, sort_keys=True, indent=2) + "\n")

    def change(self, **values: object) -> None:
        """Set keys of the release."""
        self.save({**self.document, **values})

    def change_base(self, **values: object) -> None:
        """Set keys of its bundle ``base``."""
        document = self.document
        document["bundles"][0].update(values)
        self.save(document)

    @property
    def manifest(self) -> Path:
        return self.path / f"manifests/{self.document['bundles'][0]['manifest']}.zst"

    @property
    def lines(self) -> list[bytes]:
        """The entry lines of the manifest."""
        return unpacked(self.manifest).splitlines(keepends=True)[1:]

    def replace_manifest(self, data: bytes, *, entries: int | None = None) -> None:
        """Have the release name ``data``, by its right hash and as so many entries."""
        digest = hashlib.sha256(data).hexdigest()
        (self.path / f"manifests/{digest}.zst").write_bytes(zstandard.compress(data))
        count = max(data.count(b"\n") - 1, 0) if entries is None else entries
        self.change_base(manifest=digest, manifest_size=len(data), entries=count)

    def edit(self, change: Callable[[list[bytes]], Iterable[bytes]], *, sort: bool = True) -> None:
        """Have the release name its manifest with the lines changed, in order if ``sort``."""
        lines = list(change(self.lines))
        if sort:
            lines.sort(key=line_path)
        self.replace_manifest(HEADER + b"".join(lines))

    def object(self, content: bytes) -> Path:
        """Return the file of the object with this content."""
        digest = hashlib.sha256(content).hexdigest()
        return self.path / f"objects/{digest[:2]}/{digest}.zst"


def unpacked(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


class Everything(NamedTuple):
    """All that lstat says, but for the access time, and the content."""

    inode: int
    mode: int
    links: int
    uid: int
    gid: int
    size: int
    modified: int
    changed: int
    content: bytes
    xattrs: tuple[tuple[str, bytes], ...]


def everything(root: Path, *, except_below: Path | None = None) -> dict[str, Everything]:
    """Return all there is below ``root``, and ``root`` itself.

    What is below ``except_below`` is left out, and the times of that directory.
    """
    found = {}
    pending = [root]
    while pending:
        path = pending.pop()
        found[str(path.relative_to(root))] = _all_of(path, times=path != except_below)
        if path.is_dir() and not path.is_symlink() and path != except_below:
            pending += path.iterdir()
    return found


def _all_of(path: Path, *, times: bool) -> Everything:
    status = path.lstat()
    content = b""
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsencode(os.readlink(path))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return Everything(
        status.st_ino,
        status.st_mode,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns if times else 0,
        status.st_ctime_ns if times else 0,
        content,
        tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
    )


Snapshot = dict[str, Everything]


NEW = b"a new library"
BASE: Tree = {
    "bin/tool": file("tool", 0o4755),
    "bin/alias": hardlink("bin/tool"),
    "dev/null": char(1, 3),
    "empty": file(""),
    "etc/conf": file("conf", xattrs={"user.note": b"\0"}),
    "etc/old": file("old"),
    "lib": symlink("usr/lib"),
    "run/fifo": fifo(),
    "usr/lib/libc": file("libc"),
}
TREES: dict[int, Tree] = {
    1: BASE,
    2: {**BASE, "etc/conf": file("conf 2")},
    3: {
        **BASE,
        "etc/conf": file("conf 3"),
        "usr/lib/libnew": file(NEW),
        "usr/doc/new": file("doc"),
    },
}
del TREES[3]["etc/old"]


class Shop:
    """A good repository of ``TREES``, and three stores to try bad ones on.

    They are an empty one, one that has to clone for its next upgrade, and one with a
    spare. All are on version 2 but the empty one, and must stay there.
    """

    def __init__(self, home: Path) -> None:
        self.repo = home / "empty/repo"
        self.labs = {name: Lab(home / name) for name in ("empty", "clone", "spare")}
        for name, lab in self.labs.items():
            lab.home.mkdir()
            if name != "empty":
                lab.repo.symlink_to(self.repo)
            lab.init()
        for version, tree in TREES.items():
            self.labs["empty"].publish(version, tree)
        self.labs["clone"].upgrade(2)
        self.labs["spare"].upgrade(1)
        self.labs["spare"].upgrade(2)
        for lab in self.labs.values():
            with session(str(lab.store), RealFs(), Listener(), forks=1):
                pass  # now the lock's file is there in all three


def contents(lab: Lab, *, downloads: bool = False) -> Snapshot:
    """Return the whole store but for what the lock says, and for its downloads if wanted."""
    found = everything(lab.store, except_below=lab.control / "objects" if downloads else None)
    found.pop(".rootman/lock", None)
    return found


def attempt(
    lab: Lab, repository: Path | str, options: Options | None = None, fs: Fs | None = None
) -> None:
    """Upgrade the store of ``lab`` in this process."""
    with (
        Repository.open(str(repository)) as opened_repository,
        session(str(lab.store), fs or RealFs(), Listener(), forks=1) as opened,
    ):
        upgrade(opened, opened_repository, options or Options())


def check_refused(
    lab: Lab,
    repository: Path | str,
    error: type[RootmanError],
    message: str,
    *,
    hint: str | None = None,
    downloads: bool = False,
) -> None:
    """Check that the upgrade is refused like this, by the core and by the command."""
    before = contents(lab, downloads=downloads)

    with pytest.raises(error, match=message) as caught:
        attempt(lab, repository)

    assert type(caught.value) in (error, *error.__subclasses__())
    check_told(caught.value, hint)
    assert contents(lab, downloads=downloads) == before
    told = Machine(lab.home).refused("upgrade", repository, code=error.exit_code)
    assert re.match(r"rootman: upgrade: ", told)
    assert re.search(message, told)
    assert contents(lab, downloads=downloads) == before
    check_downloads(lab)


def check_told(error: RootmanError, hint: str | None) -> None:
    """EX-2, EX-3: one line; the way out is in the hint."""
    assert re.fullmatch(r"[^\n\r]+", str(error))
    if hint is not None:
        assert error.hint is not None
        assert re.search(hint, error.hint)


def check_downloads(lab: Lab) -> None:
    """ST-12: what stays in ``objects`` is whole."""
    for path in (lab.control / "objects").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
