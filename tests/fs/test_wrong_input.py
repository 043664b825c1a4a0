"""Whatever is wrong, an upgrade says it in one line and changes nothing (EX-4, S6).

Every flaw meets three stores: an empty one, one that has to clone, and one with a
spare. Each attempt is made in this process and as a user types it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from rootman.errors import InvalidInput, NoSpace, NotFound, Refused, RootmanError
from rootman.manifest import HEADER
from rootman.upgrade import Options
from tests.commands import Machine
from tests.stores import Lab
from tests.tampering import NEW, BadRepository, Shop, attempt, check_refused, contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.filesystems import LoopFilesystem

Edit = Callable[[list[bytes]], list[bytes]]


@pytest.fixture(scope="module")
def shop(ext4: LoopFilesystem) -> Iterator[Shop]:
    home = ext4.path / "wrong-input"
    home.mkdir()
    yield Shop(home)
    shutil.rmtree(home)


@pytest.fixture(params=["empty", "clone", "spare"])
def lab(shop: Shop, request: pytest.FixtureRequest) -> Lab:
    found: Lab = shop.labs[request.param]
    return found


@pytest.fixture
def bad(shop: Shop, tmp_on_ext4: Path) -> BadRepository:
    return BadRepository(shop.repo, tmp_on_ext4 / "repo", 3)


# --- manifests -----------------------------------------------------------------------


def replaced(old: bytes, new: bytes) -> Edit:
    """Return a change of lines: the first ``old`` in any of them becomes ``new``."""

    def change(lines: list[bytes]) -> list[bytes]:
        data = b"".join(lines)
        assert old in data
        return data.replace(old, new, 1).splitlines(keepends=True)

    return change


def added(like: bytes, path: bytes) -> Edit:
    """Return a change of lines: one more like that of ``like``, for ``path``."""

    def change(lines: list[bytes]) -> list[bytes]:
        line = next(one for one in lines if one.startswith(like + b" "))
        return [*lines, line.replace(like, path, 1)]

    return change


def without(path: bytes) -> Edit:
    return lambda lines: [one for one in lines if not one.startswith(path + b" ")]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[6], lines[5], *lines[7:]]


def cut(*, whole_lines: bool) -> Callable[[BadRepository], None]:
    def spoil(bad: BadRepository) -> None:
        data = HEADER + b"".join(bad.lines)
        end = data[:-50].rfind(b"\n") + 1 if whole_lines else len(data) - 50
        bad.replace_manifest(data[:end], entries=len(bad.lines))

    return spoil


def edit(change: Edit, *, sort: bool = True) -> Callable[[BadRepository], None]:
    return lambda bad: bad.edit(change, sort=sort)


def both(*changes: Edit) -> Edit:
    def change(lines: list[bytes]) -> list[bytes]:
        for one in changes:
            lines = one(lines)
        return lines

    return change


def tear(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def scratch(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + b"\xff" * 9 + data[49:])


def store(data: bytes) -> Callable[[Path], object]:
    """Return what puts the compressed ``data`` into a file."""
    return lambda path: path.write_bytes(zstandard.compress(data))


def store_zeroes(path: Path) -> None:
    """Make of a small file a compressed one with much in it."""
    path.write_bytes(zstandard.compress(bytes(64 << 20)))


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what removes a file and makes another thing of its name."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


@dataclass(frozen=True)
class Flaw:
    """What is spoilt, and what must be said of it. ``id`` names the test."""

    id: str
    spoil: Callable[[BadRepository], object]
    message: str
    error: type[RootmanError] = InvalidInput
    hint: str | None = None


PARENT = "its parent is not a directory of the tree"
NO_LINE = "not a line of a rootman manifest"
BAD_PATH = r"a path must (begin with \./|not contain //, \. or \.\.)"
GROUP = r"the hardlink group is not consistent"
MANIFESTS = [
    Flaw("text", lambda bad: bad.replace_manifest(b"hello\n"), "not a manifest"),
    Flaw("nothing", lambda bad: bad.replace_manifest(b""), "not a manifest"),
    Flaw("a program", lambda bad: bad.replace_manifest(Path("/bin/true").read_bytes()), "manifest"),
    Flaw("a web page", lambda bad: bad.replace_manifest(b"<html>\n" * 9), "not a manifest"),
    Flaw("another mtree", lambda bad: bad.replace_manifest(b"#mtree v2.0\n"), "not a manifest"),
    Flaw("only a header", lambda bad: bad.replace_manifest(HEADER), "no line for the root"),
    Flaw("cut off in a line", cut(whole_lines=False), "the manifest is cut off"),
    Flaw("cut off after a line", cut(whole_lines=True), "has not the 18 entries its release says"),
    Flaw("reordered", edit(swapped, sort=False), r"line \d+: \S+ stands out of order"),
    Flaw("all reversed", edit(lambda all_: all_[::-1], sort=False), "stands out of order|parent"),
    Flaw("a path twice", edit(added(b"./etc/conf", b"./etc/conf")), r"\./etc/conf stands twice"),
    Flaw(
        "a path twice, other content",
        edit(added(b"./etc/conf", b"./empty")),
        r"\./empty stands twice",
    ),
    Flaw("dots", edit(replaced(b"./usr/lib/libnew", b"./usr/../../../etc/passwd")), BAD_PATH),
    Flaw("dots at the end", edit(added(b"./usr/doc", b"./usr/..")), BAD_PATH),
    Flaw("dots in octal", edit(added(b"./empty", b"./usr/\\056\\056/x")), "canonical form"),
    Flaw("an absolute path", edit(replaced(b"./usr/lib/libnew", b"/etc/passwd")), NO_LINE),
    Flaw("no dot", edit(replaced(b"./usr/lib/libnew", b"usr/lib/libnew")), NO_LINE),
    Flaw("a double slash", edit(added(b"./empty", b".//etc/passwd")), BAD_PATH),
    Flaw(
        "through a symlink", edit(added(b"./empty", b"./lib/passwd")), rf"\./lib/passwd: {PARENT}"
    ),
    Flaw("through a file", edit(added(b"./empty", b"./empty/x")), rf"\./empty/x: {PARENT}"),
    Flaw(
        "a directory that became a symlink",
        edit(replaced(b"./usr/lib type=dir mode=0755", b"./usr/lib type=link mode=0777")),
        "keywords do not fit type=link",
    ),
    Flaw(
        "a directory that became a file",
        edit(both(without(b"./usr/lib"), added(b"./empty", b"./usr/lib"))),
        rf"\./usr/lib/lib\w+: {PARENT}",
    ),
    Flaw(
        "a directory that is missing", edit(without(b"./usr/lib")), rf"\./usr/lib/lib\w+: {PARENT}"
    ),
    Flaw("no root", edit(without(b".")), f"root|{PARENT}"),
    Flaw("an unknown type", edit(replaced(b"type=fifo", b"type=door")), NO_LINE),
    Flaw("an unknown keyword", edit(replaced(b"type=fifo", b"type=fifo flags=x")), NO_LINE),
    Flaw("a device out of range", edit(replaced(b"native,1,3", b"native,1,9999999999")), "range"),
    Flaw("a hardlink without its other name", edit(without(b"./bin/alias")), GROUP),
    Flaw("a hardlink too many", edit(added(b"./bin/alias", b"./bin/third")), GROUP),
    Flaw(
        "hardlinks that differ",
        edit(replaced(b"alias type=file mode=4755", b"alias type=file mode=0755")),
        GROUP,
    ),
    Flaw(
        "an entry less than the release says", lambda bad: bad.change_base(entries=19), "19 entries"
    ),
    Flaw(
        "another hash", lambda bad: bad.manifest.write_bytes(zstandard.compress(HEADER)), "SHA-256"
    ),
    Flaw("not compressed", lambda bad: bad.manifest.write_bytes(b"#mtree\n"), "damaged"),
    Flaw("torn", lambda bad: tear(bad.manifest), "SHA-256|damaged"),
    Flaw("flipped bytes", lambda bad: scratch(bad.manifest), "damaged|SHA-256"),
    Flaw("missing", lambda bad: bad.manifest.unlink(), r"manifests/[0-9a-f]{64}\.zst is missing"),
]


@pytest.mark.parametrize("flaw", MANIFESTS, ids=lambda flaw: flaw.id)
def test_a_bad_manifest(lab: Lab, bad: BadRepository, flaw: Flaw) -> None:
    """MF-1 to MF-13, RL-10, RL-11, EX-4."""
    flaw.spoil(bad)

    check_refused(lab, bad.release, flaw.error, flaw.message, hint=flaw.hint)


@pytest.mark.parametrize("kind", ["cut off after a line", "dots"])
def test_what_is_wrong_with_other_bytes_does_not_matter(
    lab: Lab, bad: BadRepository, kind: str
) -> None:
    """RL-10: bytes that have another hash are not told of in detail."""
    good = bad.document["bundles"][0]
    flaw = next(one for one in MANIFESTS if one.id == kind)
    flaw.spoil(bad)
    spoilt = bad.manifest
    bad.change_base(**good)
    bad.manifest.write_bytes(spoilt.read_bytes())

    check_refused(lab, bad.release, InvalidInput, f"manifest {good['manifest']}: .* SHA-256")


# --- objects -------------------------------------------------------------------------

OBJECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "other content": (store(b"an old one"), "SHA-256 [0-9a-f]{64}"),
    "same size": (store(NEW[::-1]), "SHA-256 [0-9a-f]{64}"),
    "empty": (store(b""), "SHA-256"),
    "not compressed": (lambda path: path.write_bytes(NEW), "damaged"),
    "no bytes": (lambda path: path.write_bytes(b""), "SHA-256|damaged"),
    "torn": (tear, "SHA-256|damaged"),
    "a bomb": (store_zeroes, "longer than the 13 bytes"),
    "missing": (Path.unlink, "is missing"),
    "a directory": (instead(Path.mkdir), "is not a file"),
    "a fifo": (instead(os.mkfifo), "is not a file"),
}


@pytest.mark.parametrize(("spoil", "message"), OBJECTS.values(), ids=OBJECTS)
def test_a_bad_object(
    lab: Lab, bad: BadRepository, spoil: Callable[[Path], object], message: str
) -> None:
    """RL-10, ST-12: the object is named; other downloads may stay."""
    path = bad.object(NEW)
    spoil(path)

    check_refused(lab, bad.release, InvalidInput, rf"{path.stem}.*({message})", downloads=True)


def test_a_size_that_is_not_that_of_the_content(bad: BadRepository, tmp_on_ext4: Path) -> None:
    """RL-10: the tree would not be what its manifest says."""
    size = len(NEW)
    bad.edit(replaced(b"size=%d" % size, b"size=%d" % (size + 1)))
    lab = Lab(tmp_on_ext4)
    lab.init()

    with pytest.raises(InvalidInput, match=f"{size + 1} bytes"):
        attempt(lab, bad.release)


# --- releases ------------------------------------------------------------------------

RELEASES = [
    Flaw("not JSON", lambda bad: bad.release.write_bytes(b"#mtree\n"), r"3\.json: not a release"),
    Flaw(
        "a manifest",
        lambda bad: bad.release.write_bytes(bad.manifest.read_bytes()),
        "not a release",
    ),
    Flaw("nothing", lambda bad: bad.release.write_bytes(b""), "not a release"),
    Flaw("torn", lambda bad: tear(bad.release), "not a release"),
    Flaw("too long", lambda bad: bad.release.write_bytes(b" " * (2 << 20)), "larger than"),
    Flaw("nested", lambda bad: bad.release.write_bytes(b"[" * 100_000), "not a release"),
    Flaw("an unknown format", lambda bad: bad.change(format=2), "format 2 is newer", hint="update"),
    Flaw("a key too many", lambda bad: bad.change(x=1), "x: unknown key"),
    Flaw("another version", lambda bad: bad.change(version=4), "version: says 4"),
    Flaw(
        "another name than its repository",
        lambda bad: bad.change(name="debian"),
        "name: says debian",
    ),
    Flaw("a hash that is a path", lambda bad: bad.change_base(manifest="../" * 20), "manifest"),
    Flaw(
        "for other hardware",
        lambda bad: bad.change(compatible=["xo-4"]),
        "is for xo-4",
        Refused,
        "--compatible",
    ),
    Flaw(
        "for a newer rootman",
        lambda bad: bad.change(minimum_rootman="99.0"),
        "needs rootman 99.0",
        Refused,
        "update",
    ),
    Flaw("no release", lambda bad: bad.release.unlink(), "no such file", NotFound),
    Flaw(
        "no release at all",
        lambda bad: shutil.rmtree(bad.path / "releases"),
        "no such file",
        NotFound,
    ),
    Flaw(
        "no repository",
        lambda bad: (bad.path / "repository.json").unlink(),
        "neither a repository nor",
    ),
    Flaw(
        "an unknown format of the repository",
        lambda bad: (bad.path / "repository.json").write_text('{"format": 2, "name": "olpc"}'),
        "format 2 is newer",
        hint="update",
    ),
    Flaw("nothing there", lambda bad: shutil.rmtree(bad.path), "no such file", NotFound),
    Flaw(
        "room for nothing",
        lambda bad: bad.change_base(manifest_size=1 << 60),
        "MiB are free",
        NoSpace,
        "prune",
    ),
]


@pytest.mark.parametrize("flaw", RELEASES, ids=lambda flaw: flaw.id)
def test_a_bad_release(lab: Lab, bad: BadRepository, flaw: Flaw) -> None:
    """RL-1 to RL-4, RL-12, EX-4."""
    flaw.spoil(bad)

    check_refused(lab, bad.release, flaw.error, flaw.message, hint=flaw.hint)


def test_a_repository_of_another_os(lab: Lab, bad: BadRepository) -> None:
    """RL-12."""
    (bad.path / "repository.json").write_text('{"format": 1, "name": "debian"}')
    bad.change(name="debian")

    check_refused(
        lab, bad.release, Refused, r"debian\.3 is another OS", hint="repository of this OS"
    )


def test_a_repository_without_releases(lab: Lab, bad: BadRepository) -> None:
    shutil.rmtree(bad.path / "releases")
    (bad.path / "releases").mkdir()

    check_refused(lab, bad.path, NotFound, "no release yet", hint="rootman publish")


@pytest.mark.parametrize("name", ["repository.json", "manifests", "."])
def test_another_file_of_a_repository(lab: Lab, bad: BadRepository, name: str) -> None:
    wrong = bad.path.parent if name == "." else bad.path / name

    check_refused(lab, wrong, InvalidInput, "neither a repository nor a release", hint="REPO")


def test_the_very_file_of_a_manifest(lab: Lab, bad: BadRepository) -> None:
    check_refused(lab, bad.manifest, InvalidInput, "neither a repository nor a release")


@pytest.mark.parametrize("name", ["clone", "spare"])
def test_a_version_that_is_not_newer(shop: Shop, bad: BadRepository, name: str) -> None:
    """RL-12: refused without --allow-downgrade, whether its tree is here or not."""
    old = bad.path / "releases/1.json"

    check_refused(
        shop.labs[name],
        old,
        Refused,
        r"olpc\.1 is not newer than olpc\.2, which is current",
        hint="--allow-downgrade",
    )


def test_a_downgrade_that_was_asked_for(shop: Shop, tmp_on_ext4: Path) -> None:
    """RL-12."""
    lab = Lab(tmp_on_ext4)
    lab.repo.symlink_to(shop.repo)
    lab.init()
    lab.upgrade(2)

    lab.upgrade(1, options=Options(allow_downgrade=True))

    assert (lab.link("current"), lab.link("previous")) == ("olpc.1", "olpc.2")
    assert lab.verdict(1) == "pristine"


@pytest.mark.parametrize("name", ["clone", "spare"])
def test_the_current_version_with_other_content(shop: Shop, bad: BadRepository, name: str) -> None:
    """RL-12: a version means one thing."""
    other = BadRepository(shop.repo, bad.path.parent / "other", 2)
    other.edit(replaced(b"uid=0", b"uid=1"))

    check_refused(shop.labs[name], other.release, Refused, r"olpc\.2 is here with other content")


@pytest.mark.parametrize("name", ["clone", "spare"])
def test_the_current_version_is_nothing_to_do(shop: Shop, name: str) -> None:
    """RL-12."""
    before = contents(shop.labs[name])

    attempt(shop.labs[name], shop.repo / "releases/2.json")

    assert contents(shop.labs[name]) == before


def test_a_dry_run_says_the_same(lab: Lab, bad: BadRepository) -> None:
    bad.edit(replaced(b"./usr/lib/libnew", b"/etc/passwd"))
    before = contents(lab)

    told = Machine(lab.home).refused("upgrade", "--dry-run", bad.release, code=3)

    assert NO_LINE in told
    assert contents(lab) == before


def test_the_good_repository_is_good(shop: Shop, tmp_on_ext4: Path) -> None:
    """Else all of the above would prove nothing."""
    for name in ("empty", "clone", "spare"):
        lab = Lab(tmp_on_ext4 / name)
        lab.home.mkdir()
        lab.repo.symlink_to(shop.repo)
        lab.init()
        versions = {"empty": [], "clone": [2], "spare": [1, 2]}[name]
        for version in (*versions, 3):
            lab.upgrade(version)
        assert lab.verdict(3) == "pristine"
