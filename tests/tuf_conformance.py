"""The client that TUF's public conformance suite tests: our refresh, in its command line.

    pytest tuf_conformance --entrypoint "ROOTMAN/.venv/bin/python ROOTMAN/tests/tuf_conformance.py"

The protocol is CLIENT-CLI.md of theupdateframework/tuf-conformance: ``init``, ``refresh``
and ``download``, exit code 0 or 1, metadata in ``--metadata-dir`` under their names without
a version. The source is a plain one, since the suite's own server speaks for both sides;
what is tested is what `rootman upgrade` verifies with. That knows no delegations (TU-1), so
a target that only a delegated role lists is not found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from rootman.errors import InvalidInput, RootmanError, SystemFailure
from rootman.repo import layout
from rootman.repo.anchor import read_root
from rootman.repo.refresh import refresh
from rootman.repo.source import Alone, Missing
from rootman.trust import METADATA_FILES, ROOT_FILE, Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootman.repo.framework import TargetFile

_TIMEOUT = 10  # seconds


class SuiteSource(Alone):
    """What the suite serves; metadata and targets have each a URL of their own."""

    def __init__(self, metadata: str, targets: str = "") -> None:
        self.location = metadata
        self._metadata = metadata.rstrip("/")
        self._targets = targets.rstrip("/")

    @property
    def is_near(self) -> bool:
        return False

    @property
    def is_complete(self) -> bool:
        return True

    def name_of(self, path: str) -> str:
        folder, _, name = path.partition("/")
        if folder == layout.METADATA:
            return f"{self._metadata}/{name}"
        return f"{self._targets}/{quote(path)}"

    def versions(self) -> list[int]:
        return []

    def read(self, path: str, limit: int) -> bytes:
        with self.open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidInput(f"{self.name_of(path)}: larger than {limit} bytes")
        return data

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        assert not offset
        url = self.name_of(path)
        try:
            return cast("BinaryIO", urllib.request.urlopen(url, timeout=_TIMEOUT))  # noqa: S310  the suite's own server
        except urllib.error.HTTPError as error:
            if error.code in {403, 404}:
                raise Missing(f"{url} is missing") from error
            raise SystemFailure(f"{url}: {error}") from error
        except OSError as error:
            raise SystemFailure(f"{url}: {error}") from error

    def close(self) -> None:
        pass


def main(arguments: Sequence[str]) -> int:
    """Do what the suite asks for; return the exit code that it wants."""
    parser = argparse.ArgumentParser(prog="tuf_conformance")
    parser.add_argument("--metadata-dir", required=True)
    for name in ("--metadata-url", "--target-name", "--target-base-url", "--target-dir"):
        parser.add_argument(name, default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root")
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args(arguments)
    try:
        if given.command == "init":
            _write(given.metadata_dir, ROOT_FILE, read_root(given.root))
            return 0
        source = SuiteSource(given.metadata_url, given.target_base_url)
        targets = _refresh(source, given.metadata_dir)
        if given.command == "download":
            _download(source, targets, given.target_name, given.target_dir)
    except RootmanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _refresh(source: SuiteSource, folder: str) -> Mapping[str, TargetFile]:
    """Refresh what is in ``folder``, which the suite looks at afterwards."""
    present = [name for name in METADATA_FILES if os.path.exists(os.path.join(folder, name))]
    before = Trust({name: _read(folder, name) for name in present}, floor=0)

    def keep(after: Trust) -> None:
        for name, data in after.files.items():
            if data != before.files.get(name):
                _write(folder, name, data)

    return refresh(source, before, clock=time.time(), keep=keep)


def _download(
    source: SuiteSource, targets: Mapping[str, TargetFile], path: str, folder: str
) -> None:
    """Have the target ``path`` in ``folder``; one that is there already is not fetched again."""
    from rootman.repo.framework import exceptions
    from rootman.repo.trusted import SignedCatalogue

    name = quote(path, safe="")
    target = targets.get(path)
    if target is not None and os.path.exists(os.path.join(folder, name)):
        try:
            target.verify_length_and_hashes(_read(folder, name))
        except exceptions.LengthOrHashMismatchError:
            pass
        else:
            return
    limit = target.length if target is not None else 0
    _write(folder, name, SignedCatalogue(source, targets).read(path, limit))


def _read(folder: str, name: str) -> bytes:
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def _write(folder: str, name: str, data: bytes) -> None:
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
