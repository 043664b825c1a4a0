"""Publishing with bundles: what is in which manifest, packs, exports, and what is refused."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
import zstandard

from rootman.composition import composed, merged
from rootman.errors import Refused
from rootman.fsops import RealFs
from rootman.manifest import HEADER, line_path
from rootman.names import BASE
from rootman.release import Release, parse_release, serialise
from rootman.repo import layout, parts
from rootman.repo.check import Amount, Report, check
from rootman.repo.export import export
from rootman.repo.packs import Pack, make_packs
from rootman.repo.prune import prune
from rootman.report import Silent
from rootman.scanner import scan_tree
from tests.builders import Tree, build, directory, file, hardlink, symlink
from tests.fuzz.model import is_manifest, lines_of
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

NOISE = Random(1).randbytes(8000).hex()
TREE: Tree = {
    ".": directory(),
    "bin/sh": file("shell" + NOISE, 0o755),
    "bin/bash": hardlink("bin/sh"),
    "bin/vi": file("vi" + NOISE, 0o755),
    "bin/view": hardlink("bin/vi"),
    "lib": symlink("usr/lib"),
    "usr/lib/spell/de": file("deutsch" + NOISE),
    "usr/lib/spell/en": file("english" + NOISE),
    "usr/lib/vi/help": file("help" + NOISE),
    "usr/lib/vi/tutor": file("english" + NOISE),
    "usr/share/empty": file(),
}
VI = "/bin/vi\n/bin/view\n/usr/lib/vi\n/usr/share/empty\ninclude spell\ndescription An editor"
SPELL = "/usr/lib/spell/de\n/usr/lib/spell/en"
GERMAN = "/usr/lib/spell/de\n/usr/lib/spell"
LISTS = {"vi": VI, "spell": SPELL, "german": GERMAN}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a repository whose version 1 has bundles."""
    lab = Lab(tmp_on_ext4)
    lab.publish(1, TREE, lists=LISTS)
    return lab


def release_of(lab: Lab, version: int = 1) -> Release:
    return parse_release((lab.repo / layout.release_path(version)).read_bytes(), "")


def manifests(lab: Lab, version: int = 1) -> dict[str, bytes]:
    """Return the manifests of a release by the names of their bundles."""
    found = {}
    for bundle in release_of(lab, version).bundles:
        with (lab.repo / layout.manifest_path(bundle.manifest)).open("rb") as packed:
            stream = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            found[bundle.name] = stream.readall()
    return found


def paths(manifest: bytes) -> list[str]:
    return [line_path(line).decode().removeprefix("./") for line in lines_of(manifest)]


def whole(base: bytes, *others: bytes) -> bytes:
    return b"".join(composed([base], merged([[one] for one in others])))


def look(lab: Lab) -> Report:
    return check(str(lab.repo), Silent())


def test_the_parts_are_the_tree(lab: Lab) -> None:
    """BU-2, BU-5: each with base is a tree, and all of them are what was scanned."""
    found = manifests(lab)

    fd = os.open(lab.source(1), os.O_RDONLY)
    assert whole(*found.values()) == b"".join(scan_tree(fd))
    base = found.pop(BASE)
    assert all(is_manifest(whole(base, one)) for one in (HEADER, *found.values()))
    assert paths(base) == [".", "bin", "bin/bash", "bin/sh", "lib", "usr", "usr/lib", "usr/share"]
    assert paths(found["spell"]) == ["usr/lib/spell", "usr/lib/spell/de", "usr/lib/spell/en"]
    assert found["spell"] == found["german"]
    assert "usr/share/empty" in paths(found["vi"])


def test_the_release_says_what_a_bundle_is(lab: Lab) -> None:
    """RL-11."""
    release, found = release_of(lab), manifests(lab)

    assert [one.name for one in release.bundles] == ["base", "german", "spell", "vi"]
    for bundle in release.bundles:
        assert bundle.manifest_size == len(found[bundle.name])
        assert bundle.entries == len(lines_of(found[bundle.name]))
    vi = release.bundle("vi")
    assert vi is not None
    assert (vi.includes, vi.description) == (("spell",), "An editor")
    # The names of one inode count once, equal content at two paths twice.
    assert vi.size == len("vi" + "help" + "english") + 3 * len(NOISE)
    assert release.base.size == len("shell" + NOISE)
    objects = list((lab.repo / "objects").rglob("*.zst"))
    assert len(objects) == 5


def test_without_lists_base_is_the_tree(lab: Lab) -> None:
    """BU-5."""
    lab.publish(2, TREE)

    fd = os.open(lab.source(2), os.O_RDONLY)
    assert manifests(lab, 2) == {"base": b"".join(scan_tree(fd))}


def test_many_lines_go_in_many_frames(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """RL-5: manifests are frames, however many; what waits has a limit, not each part."""
    before = manifests(lab)
    lab.source(2).symlink_to(lab.source(1))
    monkeypatch.setattr(parts, "_WAITING", 300)
    for path in (lab.repo / "manifests").iterdir():
        path.unlink()

    lab.publish(2, lists=LISTS)

    assert manifests(lab, 2) == before
    assert look(lab).findings == []


def test_bundles_are_as_immutable_as_the_tree(lab: Lab) -> None:
    """RL-6."""
    assert lab.publish(1, lists=dict(reversed(LISTS.items()))).already_published

    for lists, what in (
        ({}, "manifest, bundles"),
        ({**LISTS, "vi": VI + "!"}, "bundles"),
        ({**LISTS, "german": GERMAN + "\ninclude vi"}, "bundles"),
        ({**LISTS, "other": SPELL}, "bundles"),
        ({**LISTS, "vi": f"/bin\n{VI}"}, "manifest, bundles"),
    ):
        with pytest.raises(Refused) as caught:
            lab.publish(1, lists=lists)
        assert str(caught.value).endswith(f"already published with other content ({what})")


# --- packs and exports ------------------------------------------------------------------


@pytest.fixture
def two(lab: Lab) -> Lab:
    """Return the repository with a version 2: a bundle more, one that changed, others did not."""
    tree = {**TREE, "bin/vi": file("vim" + NOISE, 0o755), "bin/new": file("new" + NOISE)}
    lab.publish(2, tree, lists={**LISTS, "new": "/bin/new"})
    return lab


def made(lab: Lab, *origins: int | None, at_any_size: bool = True) -> list[Pack]:
    return list(make_packs(str(lab.repo), 2, origins, fs=RealFs(), at_any_size=at_any_size))


def test_each_bundle_that_differs_has_its_packs(two: Lab) -> None:
    """PK-1: from what it was, or from nothing; what is the same needs none."""
    one, other = release_of(two, 1), release_of(two, 2)

    found = made(two, 1, None)

    assert [(pack.bundle, pack.old) for pack in found] == [
        ("new", None), ("vi", 1), ("base", None), ("german", None), ("vi", None),
    ]  # fmt: skip
    vi = [release.bundle("vi") for release in (one, other)]
    assert vi[0] is not None
    assert vi[1] is not None
    assert (two.repo / layout.pack_path(vi[0].manifest, vi[1].manifest)).exists()
    assert all(pack.kept and pack.made for pack in found)
    assert not any(pack.made for pack in made(two, 1, None))
    assert look(two).findings == []
    assert look(two).packs.files == 5


def test_an_export_has_the_packs_of_all(two: Lab) -> None:
    """OF-1."""
    output = str(two.home / "olpc.rootman")

    export(str(two.repo), 2, [1], output, fs=RealFs())

    with tarfile.open(output) as archive:
        packs = [name for name in archive.getnames() if name.startswith("packs/")]
    one, other = release_of(two, 1), release_of(two, 2)
    old = {bundle.name: bundle.manifest for bundle in one.bundles}
    assert packs == [
        layout.pack_path(old.get(bundle.name, ""), bundle.manifest)
        for bundle in other.bundles
        if bundle.name in ("new", "vi")
    ]


def test_prune_keeps_what_the_bundles_of_a_kept_version_need(two: Lab) -> None:
    """RL-16."""
    made(two, 1, None)
    before = {path for path in two.repo.rglob("*") if path.is_file()}
    vi = release_of(two, 1).bundle("vi")

    prune(str(two.repo), 1, 0.0, fs=RealFs(), reporter=Silent())

    assert vi is not None
    gone = before - {path for path in two.repo.rglob("*") if path.is_file()}
    assert two.repo / layout.manifest_path(vi.manifest) in gone
    assert look(two).findings == []
    assert look(two).unneeded == Amount()


# --- repo check --------------------------------------------------------------------------


def put(lab: Lab, name: str, manifest: bytes | None = None, /, **changes: object) -> None:
    """Put another bundle of this name into release 1: with other words, or another manifest."""
    release = release_of(lab)
    if manifest is not None:
        from hashlib import sha256

        digest = sha256(manifest).hexdigest()
        path = lab.repo / layout.manifest_path(digest)
        path.write_bytes(zstandard.compress(manifest))
        changes |= {"manifest": digest, "manifest_size": len(manifest)}
        changes |= {"entries": len(lines_of(manifest))}
    bundles = tuple(
        replace(one, **changes) if one.name == name else one  # type: ignore[arg-type]
        for one in release.bundles
    )
    path = lab.repo / layout.release_path(1)
    path.write_bytes(serialise(replace(release, bundles=bundles)))


def test_a_bundle_that_its_release_misrepresents(lab: Lab) -> None:
    """RL-18, RL-11."""
    for what, value in (("entries", 1), ("size", 8), ("manifest_size", 9)):
        put(lab, "vi", **{what: value})
        (finding,) = look(lab).findings
        assert f"the release says {what} {value}, and it is " in finding.problem
        assert finding.path.startswith("manifests/")
        lab.repo.joinpath("releases/1.json").unlink()
        lab.publish(1, lists=LISTS)


def test_bundles_that_do_not_fit_are_found(lab: Lab) -> None:
    """RL-18, BU-6: to base, or to each other."""
    found = manifests(lab)
    vi = found["vi"]
    for wrong, problem in (
        (whole(vi, HEADER + lines_of(found[BASE])[1]), "./bin: two bundles do not agree on it"),
        (vi.replace(lines_of(vi)[2], b""), "its parent is not a directory of the tree"),
        (HEADER + lines_of(vi)[0] + b"".join(lines_of(vi)[2:]), "nlink=2, and 1 names"),
    ):
        put(lab, "vi", wrong)
        (finding,) = look(lab).findings
        assert problem in finding.problem, finding
        assert finding.path.startswith("manifests/")
        lab.repo.joinpath("releases/1.json").unlink()
        lab.publish(1, lists=LISTS)

    german = found["german"].replace(
        b"./usr/lib/spell type=dir mode=0755", b"%b" % (b"./usr/lib/spell type=dir mode=0700")
    )
    put(lab, "german", german)
    (finding,) = look(lab).findings
    assert finding.path == "releases/1.json"
    assert finding.problem == "./usr/lib/spell: two bundles do not agree on it"


# --- the command --------------------------------------------------------------------------


def test_the_command_says_what_the_bundles_are(machine: Machine) -> None:
    build(machine.source(1), TREE)
    for name, text in LISTS.items():
        (machine.home / f"{name}.list").write_text(text)
    lists = [word for name in LISTS for word in ("--bundle", f"{name}={name}.list")]

    lines = machine.run("publish", "source.1", "repo", "--version", 1, *lists).lines
    again = machine.document("publish", "source.1", "repo", "--version", 1, *lists)

    assert lines[0].startswith("olpc.1 published: 8 paths, ")
    assert lines[1].startswith("bundle german: 3 paths, ")
    assert lines[3].startswith("bundle vi: 6 paths, ")
    assert [one["name"] for one in again["bundles"]] == ["german", "spell", "vi"]
    assert (again["bundles"][2]["includes"], again["bundles"][2]["entries"]) == (["spell"], 6)
    assert again["bundles"][2]["description"] == "An editor"


@pytest.mark.parametrize(
    ("lists", "code", "said"),
    [
        (["vi"], 2, "'vi' is not NAME=FILE"),
        (["vi="], 2, "'vi=' is not NAME=FILE"),
        (["vi=nothing"], 8, "nothing: no such file"),
        (["vi=source.1"], 7, "source.1: Is a directory"),
        (["vi=good", "vi=good"], 3, "bundle vi has two lists, good and good"),
        (["base=good"], 3, "good: base is what no list names, and has none"),
        (["Vi=good"], 3, "release 1: bundles[1].name: Vi is not a name"),
        (["vi=empty"], 3, "empty: names no path, so the bundle would be empty"),
        (["vi=needs"], 3, "needs:2: there is no bundle spell"),
        (["vi=needs", "spell=back"], 3, " includes "),
        (["vi=wrong"], 3, "wrong:3: /nothing is not in the tree (hint: "),
        (["vi=split"], 3, "split:1: /bin/vi (vi) and /bin/view (base) are one file"),
    ],
)
def test_lists_that_are_wrong_are_refused(
    machine: Machine, lists: list[str], code: int, said: str
) -> None:
    """BU-1, BU-3, BU-4, EX-4: and nothing is left in the repository."""
    build(machine.source(1), TREE)
    for name, text in {
        "good": "/bin/sh\n/bin/bash",
        "empty": "# nothing",
        "needs": "/bin/vi\ninclude spell",
        "back": "/lib\ninclude vi",
        "wrong": "/lib\n\n/nothing",
        "split": "/bin/vi",
    }.items():
        (machine.home / name).write_text(text)
    options = [word for one in lists for word in ("--bundle", one)]

    done = machine.attempt("publish", "source.1", "repo", "--version", 1, *options)

    assert (done.code, done.out) == (code, "")
    assert said in done.err.splitlines()[-1]
    assert code == 2 or len(done.err.splitlines()) == 1
    assert not machine.repo.exists() or list((machine.repo / "tmp").iterdir()) == []
    assert not (machine.repo / "releases/1.json").exists()
