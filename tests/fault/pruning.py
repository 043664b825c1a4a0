"""Trials of ``repo prune``: one fault, and readers who began at any time before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rootman.errors import RootmanError
from rootman.repo import layout
from rootman.repo.due import Request
from rootman.repo.folder import FolderSource
from rootman.repo.index import parse_index
from rootman.repo.keys import make_key, read_signer
from rootman.repo.packs import make_packs
from rootman.repo.prune import prune
from rootman.repo.repository import Repository
from rootman.repo.signing import open_existing, sign
from tests.fault.beginnings import leftovers
from tests.fault.faulty import Hasty, attempt
from tests.fault.sweep import SETTLED, Told, Trial, outcome_violations, suffer
from tests.fault.trees import VERSIONS
from tests.upkeep import files_of, retire_earlier, wrong_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.fsops import Fs
    from tests.fault.faulty import Mode
    from tests.stores import Lab

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Pruning:
    """A prune with ``grace``, in seconds; ``fetched`` are versions that may be fetched after it."""

    name: str
    prepare: Callable[[Lab], None]
    grace: float
    fetched: tuple[int, ...]

    def __str__(self) -> str:
        return self.name

    def __call__(self, lab: Lab, fs: Fs) -> None:
        """``rootman repo prune --keep 1``, with the key if there is one."""
        drop(lab, fs, 1, self.grace)


def prepare(lab: Lab) -> None:
    """Make a repository in which a prune deletes 1, waits for 2, retires 3 and keeps 4."""
    for version in (1, 2, 3, 4):
        lab.publish(version, VERSIONS[version])
    for version in (1, 4):
        list(make_packs(str(lab.repo), version, [None], fs=lab.make_fs()))
    drop(lab, lab.make_fs(), 2, DAY)
    retire_earlier(lab.repo, 1, 2 * DAY)


def prepare_signed(lab: Lab) -> None:
    """Make the same, signed."""
    make_key(str(lab.home / "key"))
    prepare(lab)
    with open_existing(lab.make_fs(), str(lab.repo)) as writer:
        sign(writer, signing(lab))


def signing(lab: Lab) -> Request:
    key = str(lab.home / "key")
    return Request({key: read_signer(key)}, renew=False, now=datetime.now(UTC))


def drop(lab: Lab, fs: Fs, keep: int, grace: float) -> None:
    keys = signing(lab) if (lab.home / "key").exists() else None
    prune(str(lab.repo), keep, grace, fs=fs, reporter=lab.heard, signing=keys)


# Retired before, retired by the prune, kept: without a grace only the last can be fetched.
PRUNINGS: Final = (
    Pruning("with a grace", prepare, DAY, (2, 3, 4)),
    Pruning("at once", prepare, 0, (4,)),
    Pruning("signed, with a grace", prepare_signed, DAY, (2, 3, 4)),
    Pruning("signed, at once", prepare_signed, 0, (4,)),
)


def files(lab: Lab) -> tuple[str, ...]:
    """Return the files that do not depend on what was interrupted before."""
    return tuple(sorted(one for one in files_of(lab.repo) if not one.startswith("metadata/")))


def prune_trial(pruning: Pruning, told: Told, mode: Mode, lab: Lab, at: int) -> Trial:
    """Have one fault in a prune: whoever read any list before finds all of it."""
    before = {one: (lab.repo / one).read_bytes() for one in files_of(lab.repo)}
    outcome = suffer(lab, pruning, mode, at)
    wrong = outcome_violations(mode, outcome, str(lab.repo))
    wrong.extend(reader_violations(lab, before, pruning.fetched))
    if outcome.kind == "failed" and mode != "dead" and leftovers(lab.repo):
        wrong.append(f"RL-17: {leftovers(lab.repo)} is left in tmp")

    when, keep = "given again", 1
    if at % 2:
        when, keep = "published and given again", 2
        kind, message, _ = attempt(lambda: lab.publish(5, VERSIONS[5]))
        wrong.extend(f"published: {one}" for one in reader_violations(lab, before, pruning.fetched))
        wrong.extend(f"published: {one}" for one in wrong_in(lab.repo, 5))
        if kind != "done":
            wrong.append(f"published: {message}")
    kind, message, _ = attempt(lambda: drop(lab, Hasty(), keep, pruning.grace))
    if kind != "done":
        wrong.append(f"{when}: {message}")
    wrong.extend(f"{when}: {one}" for one in reader_violations(lab, before, pruning.fetched))
    wrong.extend(f"{when}: {one}" for one in end_violations(told, lab, keep))
    return Trial(at, outcome, SETTLED, tuple(wrong))


def reader_violations(
    lab: Lab, before: dict[str, bytes], fetched: tuple[int, ...]
) -> Iterator[str]:
    """Yield what is wrong for those who read a list before, or read one now."""
    for version in fetched:
        yield from (f"RL-15: {one}" for one in wrong_in(lab.repo, version))
    for name in files_of(lab.repo) & before.keys():
        if name.startswith(("objects", "manifests", "packs", "releases")) and name != layout.INDEX:
            now = (lab.repo / name).read_bytes()
            if now != before[name]:
                yield f"RL-15: {name} changed"
    with Repository.open(str(lab.repo)) as repository:
        listed = set(repository.versions())
    indexed = set(parse_index((lab.repo / layout.INDEX).read_bytes(), layout.INDEX))
    for version in listed | indexed | signed_versions(lab):
        yield from (f"RL-14: listed: {one}" for one in wrong_in(lab.repo, version))
    newest = 5 if (lab.repo / layout.release_path(5)).exists() else 4
    if newest not in listed & indexed:
        yield f"RL-14: {newest} is not listed: {listed}, {indexed}"


def signed_versions(lab: Lab) -> set[int]:
    """Return what a device is told that was given the root."""
    if not (lab.home / "key").exists():
        return set()
    from rootman.repo.refresh import refresh
    from rootman.trust import ROOT_FILE, Trust

    root = Path(lab.repo / "metadata/1.root.json").read_bytes()
    source = FolderSource(str(lab.repo), str(lab.repo))
    try:
        clock = datetime.now(UTC).timestamp()
        paths = refresh(source, Trust({ROOT_FILE: root}), clock=clock, keep=lambda _: None)
    except RootmanError as error:
        raise AssertionError(f"RL-17: devices refuse it: {error}") from error
    finally:
        source.close()
    return {one for one in map(layout.parse_release_path, paths) if one is not None}


def end_violations(told: Told, lab: Lab, keep: int) -> Iterator[str]:
    """Yield what a prune that was completed left otherwise than without a fault."""
    if keep == 1 and files(lab) != told.extra:
        other = set(files(lab)) ^ set(told.extra)
        yield f"RL-17: the repository has other files than without a fault: {sorted(other)}"
    if leftovers(lab.repo):
        yield f"RL-17: {leftovers(lab.repo)} is left in tmp"
    if any((lab.repo / folder / "1.json").exists() for folder in ("releases", "retired")):
        yield "RL-16: 1 is still there"
    with Repository.open(str(lab.repo)) as repository:
        listed = repository.versions()
    if listed != [4, 5][:keep]:
        yield f"RL-14: {listed} are listed"
    if 3 in signed_versions(lab):
        yield "RL-14: 3 is signed"
