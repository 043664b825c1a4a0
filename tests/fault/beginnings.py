"""Trials of the commands that have no store to recover: publish and init."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import zstandard

from rootman.manifest import parse_line
from rootman.repo import layout
from rootman.repo.index import parse_index
from rootman.repo.repository import Repository
from tests.builders import build, differences, published, snapshot
from tests.fault.faulty import Hasty, attempt
from tests.fault.states import names_of, settled_violations, shape, shape_of
from tests.fault.sweep import SETTLED, Told, Trial, outcome_violations, suffer
from tests.fault.trees import VERSIONS
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.fault.faulty import Mode
    from tests.stores import Lab

Files = dict[str, bytes]


def publish(lab: Lab, fs: Fs) -> None:
    """Publish the newest tree there is, with the bundles that there are lists of."""
    lists = {path.stem: path.read_text() for path in sorted(lab.home.glob("*.list"))}
    lab.publish(newest(lab), fs=fs, lists=lists)


def newest(lab: Lab) -> int:
    return max(int(path.suffix[1:]) for path in lab.home.glob("source.*"))


def publish_trial(told: Told, mode: Mode, lab: Lab, at: int) -> Trial:
    """Have one fault in a publish: readers see the old releases, or those and the new one."""
    version = newest(lab)
    old = read_files(lab.repo)
    outcome = suffer(lab, publish, mode, at)
    wrong = outcome_violations(mode, outcome, str(lab.repo))
    wrong.extend(reader_violations(lab, old, version))
    if outcome.kind == "failed" and mode != "dead" and leftovers(lab.repo):
        wrong.append(f"RL-7: {leftovers(lab.repo)} is left in tmp")
    kind, message, _ = attempt(lambda: publish(lab, Hasty()))
    if kind != "done":
        wrong.append(f"given again: {message}")
    wrong.extend(f"given again: {one}" for one in reader_violations(lab, old, version, done=True))
    if sorted(read_files(lab.repo)) != list(told.extra) or leftovers(lab.repo):
        wrong.append("given again: RL-7: the repository has other files than without a fault")
    return Trial(at, outcome, SETTLED, tuple(wrong))


def read_files(repo: Path) -> Files:
    """Return what readers may see: everything but ``tmp/`` and the lock."""
    return {
        str(path.relative_to(repo)): path.read_bytes()
        for path in sorted(repo.rglob("*"))
        if path.is_file() and path.parent.name != "tmp" and path.name != "lock"
    }


def files(lab: Lab) -> tuple[str, ...]:
    return tuple(sorted(read_files(lab.repo)))


def leftovers(repo: Path) -> list[str]:
    return os.listdir(repo / "tmp") if (repo / "tmp").is_dir() else []


def reader_violations(lab: Lab, old: Files, version: int, *, done: bool = False) -> Iterator[str]:
    now = read_files(lab.repo) if lab.repo.exists() else {}
    changed = [name for name in old if name != layout.INDEX and now.get(name) != old[name]]
    if changed:
        yield f"RL-7: {changed} changed"
    before, after = _releases(old), _releases(now)
    listed = set(parse_index(now[layout.INDEX], layout.INDEX)) if layout.INDEX in now else set()
    if listed not in (before, after) or (done and listed != after):
        yield f"RL-13: the index lists {sorted(listed)} of {sorted(after)}"
    if after != before | {version} and (done or after != before):
        yield f"RL-7: releases {sorted(after)}"
    if "repository.json" in now:
        with Repository.open(str(lab.repo)) as repository:
            for known in sorted(after):
                yield from _release_violations(repository, known)
    for name, data in now.items():
        if name.startswith(("manifests/", "objects/")):
            content = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            if sha256(content).hexdigest() != name.rpartition("/")[2].removesuffix(".zst"):
                yield f"RL-7: {name} has another content"


def _releases(files: Files) -> set[int]:
    """Return the versions that are published in ``files``."""
    versions = (layout.parse_release_file(name.removeprefix("releases/")) for name in files)
    return {version for version in versions if version is not None}


def _release_violations(repository: Repository, version: int) -> Iterator[str]:
    """Yield what a release names and its repository has not."""
    lines: list[bytes] = []
    for bundle in repository.read_release(version).bundles:
        with repository.open_manifest(bundle.manifest) as file:
            manifest = zstandard.ZstdDecompressor().decompressobj().decompress(file.read())
        lines += manifest.splitlines(keepends=True)[1:]
    for line in lines:
        entry = parse_line(line)
        if entry.size:
            try:
                repository.source.open(layout.object_path(entry.sha256)).close()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not there
                yield f"RL-7: release {version} names {entry.path!r}: {error}"


EMPTY: Final = shape(None, None)
ADOPTED: Final = shape(1, None, 1)


def init(lab: Lab, fs: Fs) -> None:
    """``rootman init``."""
    lab.init(fs=fs)


def init_tree(lab: Lab, fs: Fs) -> None:
    """``rootman init TREE --version 1``."""
    lab.init(lab.source(1), 1, fs)


def init_trial(told: Told, mode: Mode, lab: Lab, at: int) -> Trial:
    """Have one fault in an init: there is no store, an empty one, or one with its tree."""
    with_tree = told.extra == (init_tree.__name__,)
    command = init_tree if with_tree else init
    source = snapshot(lab.source(1)) if with_tree else {}
    outcome = suffer(lab, command, mode, at)
    wrong = outcome_violations(mode, outcome, str(lab.store))
    names = names_of(lab.scan()) if lab.control.exists() else SETTLED
    if outcome.kind == "failed" and mode != "dead" and (lab.store / ".rootman.new").exists():
        wrong.append("ST-1: .rootman.new is left")

    if lab.control.exists():
        lab.look()
        wrong.extend(f"recovered: {one}" for one in settled_violations(lab, told.known))
        if shape_of(lab.scan()) not in (EMPTY, ADOPTED):
            wrong.append(f"recovered: TR-1: {shape_of(lab.scan())}")

    end = ADOPTED if with_tree else EMPTY
    if not lab.control.exists() or shape_of(lab.scan()) != end:
        kind, message, _ = attempt(lambda: command(lab, Hasty()))
        if kind != "done":
            wrong.append(f"given again: {message}")
    state = lab.scan()
    if shape_of(state) != end or names_of(state) != SETTLED:
        wrong.append(f"given again: TR-1: {state}")
    expected = {".rootman", "current", "olpc.1"} if with_tree else {".rootman"}
    if set(os.listdir(lab.store)) != expected:
        wrong.append(f"given again: ST-1: {os.listdir(lab.store)}")
    if with_tree:
        wrong.extend(differences(snapshot(lab.source(1)), source))
        wrong.extend(differences(published(snapshot(lab.tree(1))), told.known.wanted[number(1)]))
    return Trial(at, outcome, names, tuple(wrong))


def prepare_first(lab: Lab) -> None:
    _build(lab, 1)


def prepare_second(lab: Lab) -> None:
    lab.publish(1, VERSIONS[1])
    _build(lab, 2)


def prepare_bundles(lab: Lab) -> None:
    """Have bundles in one version, and other bundles in the next."""
    lab.publish(1, VERSIONS[1], lists={"more": "/usr/lib\n/bin/su", "doc": "/usr/share"})
    _build(lab, 2)
    (lab.home / "more.list").write_text("/usr/lib\n/etc/new\ninclude same")
    (lab.home / "same.list").write_text("/usr/lib")


def _build(lab: Lab, version: int) -> None:
    build(lab.source(version), VERSIONS[version])


def prepare_nothing(lab: Lab) -> None:
    del lab
