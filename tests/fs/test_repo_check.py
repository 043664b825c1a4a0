"""Verifying a whole repository: every kind of damage is found, named, and alone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from rootman.errors import Busy, InvalidInput
from rootman.packs.matching import wanted
from rootman.packs.packing import pack
from rootman.packs.way import Task
from rootman.release import parse_release, serialise
from rootman.repo import layout, soundness
from rootman.repo.check import Report, check
from rootman.repo.folder import FolderSource
from rootman.repo.keys import make_key
from rootman.repo.packs import make_packs
from rootman.repo.prune import prune
from rootman.report import Silent
from tests.builders import Tree, directory, fifo, file, hardlink, symlink
from tests.fault.faulty import Hasty
from tests.fs.test_repo_prune import NOISE
from tests.stores import Lab
from tests.trust.publishers import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

TREE: Tree = {
    ".": directory(),
    "bin/sh": file("shell" + NOISE, 0o755),
    "bin/bash": hardlink("bin/sh"),
    "bin/empty": file(),
    "bin/su": file("su" + NOISE),
    "etc/same": file("same"),
    "etc/again": file("same"),
    "large": file(b"x" * (5 << 20)),
    "lib": symlink("bin"),
    "run/fifo": fifo(),
}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a repository with versions 1 and 2 and the packs to 2."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, TREE)
    lab.publish(2, {**TREE, "bin/sh": file("another shell" + NOISE), "etc/new": file("new")})
    made = list(make_packs(str(lab.repo), 2, [1, None], fs=Hasty()))
    assert all(pack.kept for pack in made)
    return lab


def look(lab: Lab) -> Report:
    return check(str(lab.repo), Silent())


def manifest_of(lab: Lab, version: int) -> Path:
    release = parse_release((lab.repo / layout.release_path(version)).read_bytes(), "")
    return lab.repo / layout.manifest_path(release.base.manifest)


def pack_from(lab: Lab, version: int) -> Path:
    old = manifest_of(lab, version).stem if version else ""
    return lab.repo / layout.pack_path(old, manifest_of(lab, 2).stem)


def object_of(lab: Lab, version: int, name: str) -> Path:
    """Return the object of a file of ``version``, the one that was published."""
    from hashlib import sha256

    content = (lab.source(version) / name).read_bytes()
    return lab.repo / layout.object_path(sha256(content).hexdigest())


def edit_release(lab: Lab, version: int, **changes: int) -> Path:
    path = lab.repo / layout.release_path(version)
    release = parse_release(path.read_bytes(), "")
    bundle = replace(release.base, **changes)  # type: ignore[arg-type]
    path.write_bytes(serialise(replace(release, bundles=(bundle,))))
    return path


def test_a_sound_repository_is_sound(lab: Lab) -> None:
    """RL-18."""
    report = look(lab)

    assert report.findings == []
    assert (report.versions.published, dict(report.versions.retired)) == ((1, 2), {})
    assert (report.manifests, report.is_signed) == (2, False)
    objects = list((lab.repo / "objects").rglob("*.zst"))
    assert report.objects.files == len(objects) == 6
    assert report.packs.files == 2
    assert report.packs.size == sum(pack_from(lab, old).stat().st_size for old in (0, 1))
    assert report.unneeded is not None
    assert (report.unneeded.files, report.left.files, report.untested) == (0, 0, 0)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def replace_content(path: Path) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(b"another content"))


def lengthen(path: Path) -> None:
    data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    path.write_bytes(zstandard.ZstdCompressor().compress(data + b"x"))


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"garbage")


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unlink(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (unlink, "is missing; olpc.1 needs it for ./etc/again"),
        (truncate, "; olpc.1 needs it for ./etc/again"),
        (flip, "; olpc.1 needs it for ./etc/again"),
        (replace_content, "longer than the 4 bytes that a manifest says; olpc.1 needs it"),
        (lengthen, "longer than the 4 bytes"),
        (append, "damaged: "),
        (make_fifo, "is not a file"),
    ],
)
def test_a_damaged_object_is_named(lab: Lab, damage: Callable[[Path], None], problem: str) -> None:
    """RL-18."""
    path = object_of(lab, 1, "etc/same")
    damage(path)

    report = look(lab)

    found = {one.path: one for one in report.findings}
    # From nothing is made of nothing; the other pack leaves the file where it is.
    assert list(found) == [str(path.relative_to(lab.repo))]
    one = found[str(path.relative_to(lab.repo))]
    assert problem in one.problem
    assert "publish a tree that has it as another version" in one.hint
    assert report.objects.files == 6


def test_a_large_object_is_verified_to_its_end(lab: Lab) -> None:
    path = object_of(lab, 1, "large")
    path.write_bytes(zstandard.ZstdCompressor().compress(b"x" * ((5 << 20) - 1) + b"y"))

    (one,) = look(lab).findings

    assert one.problem.startswith("its content has SHA-256 ")


@pytest.mark.parametrize("damage", [unlink, truncate, replace_content, append, make_fifo])
def test_a_damaged_manifest_is_named(lab: Lab, damage: Callable[[Path], None]) -> None:
    """RL-18: what its objects are is open then."""
    path = manifest_of(lab, 1)
    damage(path)

    report = look(lab)

    assert [one.path for one in report.findings] == [str(path.relative_to(lab.repo))]
    assert report.unneeded is None
    assert report.untested == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"entries": 7}, "has not the 7 entries"),
        ({"size": 1}, "the release says size 1, and it is "),
        ({"manifest_size": 9}, "the release says manifest_size 9, and it is "),
    ],
)
def test_a_release_that_misrepresents_its_manifest(
    lab: Lab, changes: dict[str, int], problem: str
) -> None:
    edit_release(lab, 2, **changes)

    (one,) = look(lab).findings

    assert one.path == str(manifest_of(lab, 2).relative_to(lab.repo))
    assert problem in one.problem


def test_a_manifest_that_lies_about_a_size(lab: Lab) -> None:
    """A size is verified also where another version has the same content with the right one."""
    path = manifest_of(lab, 2)
    text = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    wrong = text.replace(b" size=4 ", b" size=5 ")
    from hashlib import sha256

    digest = sha256(wrong).hexdigest()
    (lab.repo / layout.manifest_path(digest)).write_bytes(
        zstandard.ZstdCompressor().compress(wrong)
    )
    size = parse_release((lab.repo / "releases/2.json").read_bytes(), "").base.size
    edit_release(lab, 2, manifest=digest, size=size + 2)  # type: ignore[arg-type]

    findings = look(lab).findings

    assert [one.problem for one in findings] == [
        "has 4 bytes, and not 5; olpc.2 needs it for ./etc/again"
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{}", "format: must be the number 1"),
        (b"", "not a release"),
        (None, "version: says 1"),
    ],
)
def test_a_damaged_release_is_named(lab: Lab, data: bytes | None, problem: str) -> None:
    path = lab.repo / "releases/2.json"
    path.write_bytes((lab.repo / "releases/1.json").read_bytes() if data is None else data)

    (one,) = look(lab).findings

    assert one.path == "releases/2.json"
    assert one.problem.startswith(problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "is missing"),
        (b"[]", "not a index: not a JSON object"),
        (b'{"format": 1, "versions": [2]}', "does not list 1"),
        (b'{"format": 1, "versions": [1, 2, 3]}', "lists what is not published: 3"),
    ],
)
def test_a_wrong_index_is_told(lab: Lab, data: bytes | None, problem: str) -> None:
    """RL-13."""
    path = lab.repo / layout.INDEX
    path.unlink()
    if data is not None:
        path.write_bytes(data)

    (one,) = look(lab).findings

    assert one.path == layout.INDEX
    assert one.problem.endswith(problem)
    prune(str(lab.repo), 9, 0, fs=Hasty(), reporter=Silent())
    assert look(lab).findings == []


@pytest.mark.parametrize("origin", [0, 1])
@pytest.mark.parametrize("damage", [truncate, flip, replace_content])
def test_a_damaged_pack_is_named(lab: Lab, origin: int, damage: Callable[[Path], None]) -> None:
    """RL-18."""
    path = pack_from(lab, origin)
    damage(path)

    (one,) = look(lab).findings

    assert one.path == str(path.relative_to(lab.repo))
    assert "rootman repo pack" in one.hint


def test_a_pack_that_makes_other_content_is_named(lab: Lab) -> None:
    """RL-18: a literal that is another breaks no stream."""
    path = pack_from(lab, 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    (one,) = look(lab).findings

    assert one.path == str(path.relative_to(lab.repo))
    assert one.problem.startswith("does not make bin/")


def test_a_pack_that_lacks_a_file_is_named(lab: Lab) -> None:
    """PK-3."""
    path = pack_from(lab, 0)
    path.unlink()
    source = FolderSource(str(lab.repo), str(lab.repo))
    keep = frozenset({source._fd})
    folder = str(lab.repo / "tmp")
    task = Task(soundness._Contents(source), "", manifest_of(lab, 2).stem, folder, keep)
    path.write_bytes(b"".join(pack(task, wanted(task)[:-1])))
    source.close()

    (one,) = look(lab).findings

    assert one.problem == "damaged: lacks 1 of its files"


def test_a_pack_with_another_name_is_found(lab: Lab) -> None:
    pack_from(lab, 0).write_bytes(pack_from(lab, 1).read_bytes())

    (one,) = look(lab).findings

    assert one.problem.startswith("leads from ")


def test_a_pack_from_what_is_not_here_cannot_be_tested(lab: Lab) -> None:
    """RL-18."""
    prune(str(lab.repo), 1, 0, fs=Hasty(), reporter=Silent())

    report = look(lab)

    assert report.findings == []
    assert (report.packs.files, report.untested) == (1, 1)


def test_what_nobody_needs_is_counted_and_no_damage(lab: Lab) -> None:
    """RL-18."""
    extra = lab.repo / "objects/ab" / f"{'ab' * 32}.zst"
    extra.parent.mkdir(exist_ok=True)
    extra.write_bytes(b"four")
    (lab.repo / "tmp/left").write_bytes(b"left by a kill")

    report = look(lab)

    assert report.findings == []
    assert report.unneeded is not None
    assert (report.unneeded.files, report.unneeded.size) == (1, 4)
    assert (report.left.files, report.left.size) == (1, 14)


def test_a_retired_version_is_verified_like_the_others(lab: Lab) -> None:
    """RL-18: as long as somebody may fetch it."""
    prune(str(lab.repo), 1, 86_400, fs=Hasty(), reporter=Silent())
    sound = look(lab)
    object_of(lab, 1, "bin/sh").unlink()

    report = look(lab)

    assert sound.findings == []
    assert list(sound.versions.retired) == [1]
    assert sound.unneeded is not None
    assert sound.unneeded.files == 0
    assert any("olpc.1 needs it" in one.problem for one in report.findings)


def test_nothing_is_changed_and_nobody_is_disturbed(lab: Lab) -> None:
    before = {path: path.stat().st_mtime_ns for path in lab.repo.rglob("*")}
    with (lab.repo / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        look(lab)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="is at work here"):
            look(lab)

    assert {path: path.stat().st_mtime_ns for path in lab.repo.rglob("*")} == before


def test_a_copy_without_a_lock_will_do(lab: Lab) -> None:
    (lab.repo / "lock").unlink()

    assert look(lab).findings == []


def test_what_is_no_repository(lab: Lab) -> None:
    for place in ("nothing", "store", "repo/releases"):
        with pytest.raises(InvalidInput, match="neither a repository"):
            check(str(lab.home / place), Silent())
    (lab.repo / "repository.json").write_bytes(b"{")
    with pytest.raises(InvalidInput, match=r"repository\.json: not a release"):
        look(lab)


def peak(lab: Lab) -> tuple[int, int]:
    """Return the number of objects, and the most bytes that a check of them had at a time."""
    program = f"""
import tracemalloc
import rootman.packs.proof, zstandard
from rootman.repo.check import check
from rootman.report import Silent
tracemalloc.start()
report = check({str(lab.repo)!r}, Silent())
assert not report.findings, report.findings
print(report.objects.files, tracemalloc.get_traced_memory()[1])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    files, most = map(int, done.stdout.split())
    return files, most


def test_memory_grows_by_some_bytes_for_each_object(lab: Lab) -> None:
    """RL-18: a release that is as large as all before leaves it as it was, but for those."""
    few, before = peak(lab)
    for version in range(3, 13):
        lab.publish(version, {f"f/{number}": file(f"{version} {number}") for number in range(300)})

    many, after = peak(lab)

    assert many == few + 3000
    assert after - before < 3000 * 150


# --- signed ----------------------------------------------------------------------------------


@pytest.fixture
def publisher(tmp_on_ext4: Path) -> Publisher:
    from datetime import UTC, datetime

    made = Publisher(tmp_on_ext4, clock=datetime.now(UTC), make_fs=Hasty)
    for version in (1, 2):
        made.publish(version)
    return made


def signed_findings(publisher: Publisher) -> list[tuple[str, str]]:
    report = check(str(publisher.repo), Silent())
    assert report.is_signed
    return [(one.path, one.problem) for one in report.findings]


def test_signatures_are_verified(publisher: Publisher) -> None:
    """RL-18."""
    assert signed_findings(publisher) == []
    path = publisher.metadata / "2.targets.json"
    path.write_text(path.read_text().replace("releases/1.json", "releases/9.json"))

    ((where, problem),) = signed_findings(publisher)

    assert where == "metadata"
    assert "2.targets.json" in problem


def test_roots_are_followed_from_the_first(publisher: Publisher) -> None:
    """RL-18: a device may have been given any of them."""
    publisher.sign(role="root")
    assert signed_findings(publisher) == []
    publisher.root.write_text(publisher.root.read_text().replace('"version": 1', '"version": 7'))

    ((where, problem),) = signed_findings(publisher)

    assert where == "metadata"
    assert "1.root.json" in problem


def test_what_has_expired_is_told(publisher: Publisher) -> None:
    publisher.wait(-91)
    publisher.publish(3)

    ((where, problem),) = signed_findings(publisher)

    assert where == "metadata"
    assert "timestamp.json expired on " in problem


def test_what_is_not_signed_yet_is_told(publisher: Publisher) -> None:
    publisher.publish(3, signed=False)

    assert signed_findings(publisher) == [
        ("releases/3.json", "is not signed: devices do not see it")
    ]


def test_what_is_signed_and_was_changed_is_told(publisher: Publisher) -> None:
    path = publisher.repo / "releases/1.json"
    path.write_bytes(path.read_bytes() + b"\n")

    ((where, problem),) = signed_findings(publisher)

    assert where == "releases/1.json"
    assert "not the one that was signed" in problem or "larger than" in problem


def test_what_is_signed_and_gone_is_told(publisher: Publisher) -> None:
    (publisher.repo / "releases/1.json").unlink()
    (publisher.repo / layout.INDEX).write_bytes(b'{"format": 1, "versions": [2]}')

    assert signed_findings(publisher) == [("releases/1.json", "is signed, and not there")]


def test_keys_that_changed_are_followed(publisher: Publisher) -> None:
    """From the first root on, as a device does that never heard of another."""
    from tests.trust.publishers import key

    other = key()
    publisher.change("targets", "online", add=(other,), remove=(publisher.key,))
    publisher.sign(publisher.key, other, role="root")

    assert signed_findings(publisher) == []


# --- the command -------------------------------------------------------------------------------


def test_the_command_and_its_document(machine: Machine) -> None:
    """EX-1."""
    machine.publish(1, {"own": file("1")})
    make_key(str(machine.home / "key"))
    machine.run("repo", "sign", machine.repo, "--key", machine.home / "key")

    sound = machine.run("repo", "check", machine.repo)
    document = machine.document("repo", "check", machine.repo)
    path = next((machine.repo / "objects").rglob("*.zst"))
    path.unlink()
    damaged = machine.attempt("repo", "check", machine.repo)
    told = machine.document("repo", "check", machine.repo, code=11)

    assert sound.lines == ["olpc: sound: 1 version, 1 object, 0 packs, signed"]
    assert (document["findings"], document["published"]) == ([], [1])
    assert document["objects"] == {"files": 1, "bytes": 1}
    name = path.relative_to(machine.repo)
    assert (damaged.code, damaged.err) == (11, "")
    hint = "put it back from a copy, or publish a tree that has it as another version"
    assert damaged.lines == [
        f"{name}: is missing; olpc.1 needs it for ./own (hint: {hint})",
        "olpc: 1 file not as it should be: 1 version, 1 object, 0 packs, signed",
    ]
    assert [one["path"] for one in told["findings"]] == [str(name)]


def test_what_is_counted_is_told_in_lines(machine: Machine) -> None:
    machine.publish(1, {"own": file("1")})
    (machine.repo / "tmp/left").write_bytes(b"12")
    extra = machine.repo / "manifests" / f"{'ab' * 32}.zst"
    extra.write_bytes(b"123")

    assert machine.run("repo", "check", machine.repo).lines == [
        "no version needs 1 file (3 B): rootman repo prune deletes that",
        "an interrupted command left 1 file (2 B): the next one deletes that",
        "olpc: sound: 1 version, 1 object, 0 packs, not signed",
    ]
