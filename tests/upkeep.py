"""Looking after a repository, as its tests see it: what is in it, and what is not whole.

With eyes of its own: nothing of ``check`` or ``inventory``, which are under test.
"""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import zstandard

from rootman.manifest import parse_line
from rootman.repo import layout
from rootman.repo.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path


def files_of(repo: Path) -> set[str]:
    """Return the files of a repository, but for those that are the publisher's own."""
    return {
        str(path.relative_to(repo))
        for path in repo.rglob("*")
        if path.is_file() and path.parent.name != layout.TEMPORARY and path.name != layout.LOCK
    }


def retire_earlier(repo: Path, version: int, seconds: float) -> None:
    """Have the retired ``version`` be retired since ``seconds`` ago."""
    then = time.time() - seconds
    os.utime(repo / layout.RETIRED / layout.release_file(version), (then, then))


def wrong_in(repo: Path, version: int) -> list[str]:
    """Return what a reader misses of ``version``, reading every byte of it."""
    with Repository.open(str(repo)) as repository:
        return wrong_in_release(repository, version)


def wrong_in_release(repository: Repository, version: int) -> list[str]:
    """Return what a reader misses of ``version``, reading every byte of it."""
    found, lines = list[str](), list[bytes]()
    try:
        for bundle in repository.read_release(version).bundles:
            with repository.open_manifest(bundle.manifest) as file:
                manifest = _content(file.read())
            if sha256(manifest).hexdigest() != bundle.manifest:
                found.append(f"{version}: another manifest of {bundle.name}")
            lines += manifest.splitlines(keepends=True)[1:]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not there
        return [f"{version}: {error}"]
    for line in lines:
        entry = parse_line(line)
        if entry.size:
            try:
                with repository.source.open(layout.object_path(entry.sha256)) as file:
                    content = _content(file.read())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not there
                found.append(f"{version}: {entry.path!r}: {error}")
                continue
            if sha256(content).hexdigest() != entry.sha256:
                found.append(f"{version}: {entry.path!r}: another content")
    return found


def _content(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
