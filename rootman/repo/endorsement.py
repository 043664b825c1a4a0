"""Whether what a repository offers is signed, as a device sees it that trusts its first root."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final

from rootman.document import SIZE_LIMIT
from rootman.errors import RootmanError
from rootman.repo import layout
from rootman.repo.findings import Finding, problem_with
from rootman.repo.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootman.repo.framework import TargetFile
    from rootman.repo.versions import Versions

_ROOT: Final = re.compile(r"([1-9][0-9]{0,9})\.root\.json")
_SIGN: Final = "rootman repo sign REPO --key FILE"


def first_root(repository_fd: int) -> str | None:
    """Return the path of the oldest root of trust, None in a repository without signatures.

    Raises:
        OSError: it cannot be read.
    """
    try:
        fd = os.open(layout.METADATA, os.O_RDONLY | os.O_DIRECTORY, dir_fd=repository_fd)
    except FileNotFoundError:
        return None
    try:
        numbers = [int(found[1]) for found in map(_ROOT.fullmatch, os.listdir(fd)) if found]
    finally:
        os.close(fd)
    return f"{layout.METADATA}/{min(numbers)}.root.json" if numbers else None


def unsigned(location: str, root: str, versions: Versions) -> Iterator[Finding]:
    """Yield what a device refuses that was given ``root``, and what it is not offered.

    Raises:
        SystemFailure: the folder cannot be read.
    """
    from rootman.repo.refresh import check_root, refresh
    from rootman.repo.trusted import SignedCatalogue
    from rootman.trust import ROOT_FILE, Trust

    source = FolderSource(location, location)
    try:
        data = source.read(root, SIZE_LIMIT)
        check_root(data, root)
        trust = Trust({ROOT_FILE: data})
        targets = refresh(source, trust, clock=time.time(), keep=lambda _: None)
        catalogue = SignedCatalogue(source, targets)
        for path in _offered(versions):
            if path not in targets:
                yield Finding(path, "is not signed: devices do not see it", _SIGN)
            else:
                try:
                    catalogue.read(path, SIZE_LIMIT)
                except RootmanError as error:
                    yield Finding(path, problem_with(path, location, error), "put it back")
        yield from _lost(targets, versions)
    except RootmanError as error:
        yield Finding(layout.METADATA, problem_with(layout.METADATA, location, error), _SIGN)
    finally:
        source.close()


def _offered(versions: Versions) -> list[str]:
    return [layout.REPOSITORY, *map(layout.release_path, versions.published)]


def _lost(targets: Mapping[str, TargetFile], versions: Versions) -> Iterator[Finding]:
    """Yield what is signed and is not there, or not to be offered."""
    for path in sorted(targets.keys() - set(_offered(versions))):
        version = layout.parse_release_path(path)
        state = "retired" if version in versions.retired else "not there"
        yield Finding(path, f"is signed, and {state}", _SIGN)
