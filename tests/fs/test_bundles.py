"""Bundles on a device: added, removed, upgraded, taken back, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import pytest

from rootman.errors import InvalidInput, NotFound, Refused
from rootman.fsops import RealFs
from rootman.release import parse_release, serialise
from rootman.repo import layout
from rootman.repo.export import export
from rootman.repo.offline import OfflineSource
from rootman.repo.packs import make_packs
from rootman.upgrade import Options
from tests.builders import (
    Tree,
    build,
    directory,
    file,
    hardlink,
    published,
    rsync_differences,
    snapshot,
    symlink,
)
from tests.commands import Machine
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeFs

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

NOISE = Random(1).randbytes(3000).hex()


def tree(version: int) -> Tree:
    return {
        ".": directory(),
        "bin/sh": file(f"shell {version}", 0o755),
        "bin/bash": hardlink("bin/sh"),
        "bin/vi": file(f"vi {version}" + NOISE, 0o4755, uid=7),
        "bin/view": hardlink("bin/vi"),
        "etc/motd": file(f"{version}\n"),
        "lib": symlink("usr/lib"),
        "usr/lib/libc": file("libc"),
        "usr/lib/spell/de": file("deutsch" + NOISE, xattrs={"user.a": b"1"}),
        "usr/lib/spell/en": file(f"english {version}"),
        "usr/share/both": file("both"),
        "usr/share/games/chess": file("chess"),
        "usr/share/vi/help": file("help"),
        "usr/share/vi/empty": file(),
    }


VI = "/bin/vi\n/bin/view\n/usr/share/vi\n/usr/share/both\ninclude spell\ndescription An editor"
SPELL = "/usr/lib/spell"
GAMES = "/usr/share/games\n/usr/share/both"
LISTS = {"vi": VI, "spell": SPELL, "games": GAMES}
OF = {  # what each adds to base
    "vi": ("bin/vi", "bin/view", "usr/share/vi", "usr/share/both"),
    "spell": ("usr/lib/spell",),
    "games": ("usr/share/games", "usr/share/both"),
}


def make_lab(home: Path, versions: int = 1) -> Lab:
    """Return a store with version 1, and a repository with that and some more."""
    lab = Lab(home)
    for version in range(1, versions + 1):
        lab.publish(version, tree(version), lists=LISTS)
    lab.init()
    lab.upgrade(1)
    return lab


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    return make_lab(tmp_on_ext4, 2)


def assembled(lab: Lab, version: int, *bundles: str) -> Path:
    """Return the published tree with these bundles alone, put together without rootman."""
    source = lab.source(version)
    target = lab.home / f"assembled.{version}.{'-'.join(bundles)}"
    subprocess.run(("rsync", "-aHAX", "--delete", f"{source}/", target), check=True)
    kept = {path for name in bundles for path in OF[name]}
    for path in {path for paths in OF.values() for path in paths} - kept:
        subprocess.run(("rm", "-r", target / path), check=True)
    for folder, _, _ in os.walk(target):
        time_ns = os.stat(source / os.path.relpath(folder, target)).st_mtime_ns
        os.utime(folder, ns=(time_ns, time_ns))
    return target


def check(lab: Lab, number: int | str, *bundles: str) -> None:
    """Check that a tree is what it should be with these bundles, in every bit."""
    version = int(str(number).partition(".")[0])
    wanted = assembled(lab, version, *bundles)
    assert rsync_differences(wanted, lab.tree(number)) == ""
    assert published(snapshot(wanted)) == published(snapshot(lab.tree(number)))
    assert lab.verdict(number) == "pristine"
    assert seal(lab, number)["parts"].keys() == {"base", *bundles}


def seal(lab: Lab, number: int | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lab.control / f"trees/{number}/seal.json").read_text())
    return found


def links(lab: Lab) -> tuple[str, str]:
    return lab.link("current"), lab.link("previous")


# --- adding and removing -----------------------------------------------------------------


def test_add_and_remove(lab: Lab) -> None:
    """BU-7, BU-8, BU-9: each is another tree of the version, from the spare of the one before."""
    check(lab, 1)

    result = lab.add("vi")
    assert (result.had, result.has) == ((), ("spell", "vi"))
    assert links(lab) == ("olpc.1.1", "olpc.1")
    check(lab, "1.1", "vi", "spell")
    assert seal(lab, "1.1")["bundles"] == ["vi"]

    lab.add("games")
    assert any("from the spare (a clone of version 1.1)" in one for one in lab.heard.steps)
    assert links(lab) == ("olpc.1.2", "olpc.1.1")
    check(lab, "1.2", "vi", "spell", "games")
    assert lab.drift_of_spare("1.2") == []

    lab.heard.steps.clear()
    result = lab.remove("vi")
    assert (result.had, result.has) == (("games", "spell", "vi"), ("games",))
    assert links(lab) == ("olpc.1.3", "olpc.1.2")
    check(lab, "1.3", "games")
    assert not any("clone" in one and "from a" in one for one in lab.heard.steps)
    lab.remove("games")
    check(lab, "1.4")
    assert seal(lab, "1.4")["manifest"] == seal(lab, "1.4")["parts"]["base"]


def test_a_removed_bundle_leaves_what_another_has(lab: Lab) -> None:
    """BU-9: usr/share/both is of both."""
    lab.add("vi", "games")
    check(lab, "1.1", "vi", "spell", "games")

    lab.remove("games")

    check(lab, "1.2", "vi", "spell")
    assert (lab.tree("1.2") / "usr/share/both").exists()


def test_rollback_both_ways(lab: Lab) -> None:
    """S2: a change of bundles is taken back as an upgrade is."""
    lab.add("vi")
    lab.rollback()
    assert links(lab) == ("olpc.1", "olpc.1.1")
    lab.rollback()
    assert links(lab) == ("olpc.1.1", "olpc.1")
    check(lab, 1)
    check(lab, "1.1", "vi", "spell")


def test_a_tree_that_is_here_with_these_bundles_is_switched_to(lab: Lab) -> None:
    """RL-12."""
    lab.add("vi")
    lab.remove("vi")
    assert links(lab) == ("olpc.1", "olpc.1.1")
    again = lab.add("vi")
    assert (again.needs, links(lab)) == (None, ("olpc.1.1", "olpc.1"))
    assert lab.add("vi").plan == ()
    assert lab.remove("games").plan == ()


def test_what_was_chosen_is_told_from_what_came_with_it(lab: Lab) -> None:
    """BU-7: another choice is another tree, also where the files are the same."""
    lab.add("vi")
    lab.add("spell")
    assert seal(lab, "1.2")["bundles"] == ["spell", "vi"]
    assert seal(lab, "1.2")["parts"] == seal(lab, "1.1")["parts"]

    lab.remove("vi")

    check(lab, "1.3", "spell")
    assert seal(lab, "1.3")["bundles"] == ["spell"]


def test_the_record_has_the_manifests_of_the_bundles(lab: Lab) -> None:
    """ST-21: and the spare has them, too."""
    lab.add("vi", "games")

    names = set(os.listdir(lab.control / "trees/1.1"))
    parts = seal(lab, "1.1")["parts"].items()
    digests = {digest for name, digest in parts if name != "base"}
    assert {name for name in names if len(name) > 60} == {f"{one}.zst" for one in digests}
    assert set(os.listdir(lab.control / "staging/spare.1.1/meta")) == names


def test_bundles_that_are_the_same(lab: Lab) -> None:
    """BU-5, ST-21: under two names, they are there once, and each can go."""
    lab.publish(3, tree(3), lists={**LISTS, "words": SPELL})
    lab.upgrade(3)
    lab.add("spell", "words")
    check_with(lab, "3.1", "spell", "words")
    lab.remove("spell")
    check_with(lab, "3.2", "words")
    lab.remove("words")
    assert lab.link("current") == "olpc.3.3"


def check_with(lab: Lab, number: str, *bundles: str) -> None:
    """Check a tree that has the dictionary under one name or two."""
    wanted = assembled(lab, 3, "spell")
    assert rsync_differences(wanted, lab.tree(number)) == ""
    assert lab.verdict(number) == "pristine"
    assert seal(lab, number)["parts"].keys() == {"base", *bundles}
    names = os.listdir(lab.control / f"trees/{number}")
    assert len([name for name in names if len(name) > 60]) == 1


def test_a_tree_with_bundles_is_repaired(lab: Lab) -> None:
    lab.add("vi")
    tree = lab.tree("1.1")
    (tree / "usr/share/vi/help").unlink()
    (tree / "etc/motd").write_text("changed")
    lab.repair("1.1")
    check(lab, "1.1", "vi", "spell")


# --- upgrades ----------------------------------------------------------------------------


def test_an_upgrade_keeps_what_was_chosen(lab: Lab) -> None:
    """BU-7."""
    lab.add("vi")

    lab.upgrade(2)

    assert links(lab) == ("olpc.2", "olpc.1.1")
    check(lab, 2, "vi", "spell")
    check(lab, "1.1", "vi", "spell")
    lab.rollback()
    lab.rollback()
    assert links(lab) == ("olpc.2", "olpc.1.1")
    lab.remove("vi")
    check(lab, "2.1")


def test_includes_are_those_of_the_new_release(lab: Lab) -> None:
    """BU-7."""
    lab.publish(3, tree(3), lists={**LISTS, "vi": VI.replace("spell", "games")})
    lab.add("vi")

    lab.upgrade(3)

    check(lab, 3, "vi", "games")


def test_a_bundle_that_the_release_has_not_is_refused(lab: Lab) -> None:
    """BU-7: with the way out, and that way is one."""
    lab.publish(3, tree(3), lists={"spell": SPELL, "games": GAMES})
    lab.add("vi")

    with pytest.raises(Refused, match="has no bundle vi, which was chosen") as caught:
        lab.upgrade(3)

    assert caught.value.hint == "rootman bundle remove vi"
    assert links(lab) == ("olpc.1.1", "olpc.1")
    lab.remove("vi")
    lab.upgrade(3)
    OF["vi"], before = (), OF["vi"]
    try:
        check(lab, 3)
    finally:
        OF["vi"] = before


def test_a_downgrade_has_the_bundles_of_current(lab: Lab) -> None:
    """RL-12, BU-7: a tree of that version without them is another."""
    lab.upgrade(2)
    lab.add("games")

    lab.upgrade(1, options=Options(allow_downgrade=True))

    assert links(lab) == ("olpc.1", "olpc.2.1")  # 1 had become the spare
    check(lab, 1, "games")


def test_drift_is_restored_by_an_upgrade_and_refused_to_be_lost(lab: Lab) -> None:
    """BU-9: what was changed in the spare can be had from the tree, or from a repository."""
    lab.add("vi", "games")
    (lab.tree("1.1") / "etc/motd").unlink()
    shutil.rmtree(lab.control / "staging/spare.1.1")

    with pytest.raises(NotFound, match="etc/motd") as caught:
        lab.remove("games")

    assert caught.value.hint == "give a repository that has it: --from REPO"
    assert links(lab) == ("olpc.1.1", "olpc.1")
    done = Machine(lab.home).attempt("bundle", "remove", "games", "--from", lab.repo)
    assert (done.code, done.err.count("not carried over: 1 path")) == (0, 1)
    check(lab, "1.2", "vi", "spell")


# --- what does not fit --------------------------------------------------------------------


def test_bundles_that_do_not_fit_are_refused(lab: Lab) -> None:
    """BU-6: by the device, whoever published them; nothing is changed but for downloads."""
    other = {**tree(2), "usr/lib/spell": directory(0o700)}
    lists = {"spell": SPELL, "games": "/usr/lib/spell/en"}
    games = lab.publish(3, other, lists=lists).release.bundle("games")
    assert games is not None
    path = lab.repo / layout.release_path(1)
    release = parse_release(path.read_bytes(), "")
    bundles = tuple(games if one.name == "games" else one for one in release.bundles)
    path.write_bytes(serialise(replace(release, bundles=bundles)))
    before = published(snapshot(lab.store))

    with pytest.raises(InvalidInput, match="spell: two bundles do not agree on it"):
        lab.add("spell", "games")

    now = published(snapshot(lab.store))
    changed = {path for path in now.keys() | before.keys() if now.get(path) != before.get(path)}
    assert changed <= {b".rootman/lock", b".rootman/objects"}


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("add nothing --from repo", 8, "olpc.1 has no bundle nothing (hint: there are: games, spe"),
        ("add base --from repo", 4, "base is what every tree has"),
        ("add vi", 2, "missing option '--from'"),
        ("add --from repo", 2, "missing argument 'NAME...'"),
        ("add vi --from nowhere", 8, "nowhere"),
        ("remove nothing", 8, "olpc.1 has no bundle nothing (hint: there are: games, spell, vi"),
        ("remove spell", 4, "bundle spell comes with games (hint: rootman bundle remove spell ga"),
        ("remove base", 4, "base is what every tree has"),
        ("info nothing", 8, "olpc.1 has no bundle nothing"),
        ("remove games --insecure", 2, "--mirror and --insecure are of --from REPO"),
    ],
)
def test_what_is_refused(tmp_on_ext4: Path, command: str, code: int, said: str) -> None:
    """EX-1 to EX-4."""
    lab, machine = Lab(tmp_on_ext4), Machine(tmp_on_ext4)
    lab.publish(1, tree(1), lists={**LISTS, "games": GAMES + "\ninclude spell"})
    lab.init()
    lab.upgrade(1)
    lab.add("games")

    line = machine.refused("bundle", *command.split(), code=code)

    name = " ".join(("bundle", command.split(maxsplit=1)[0]))
    assert line.startswith(f"rootman: {name}: ")
    assert said in line


def test_a_repository_that_dropped_the_version(lab: Lab) -> None:
    """BU-8."""
    (lab.repo / "releases/1.json").unlink()

    with pytest.raises(NotFound, match="there is no release 1") as caught:
        lab.add("vi")

    assert caught.value.hint == "upgrade first: rootman upgrade"


def test_a_tree_that_was_taken_in_has_no_bundles(tmp_on_ext4: Path) -> None:
    machine = Machine(tmp_on_ext4)
    build(machine.source(1), tree(1))
    machine.run("init", machine.source(1), "--version", 1)

    refused = machine.refused("bundle", "list", code=8)

    assert refused == "rootman: bundle list: olpc.1 is of no release, and has no defaults"


# --- from far, by packs and files ---------------------------------------------------------


def test_from_a_file(lab: Lab) -> None:
    """OF-1, OF-3: added and upgraded, without manifests and objects."""
    alone = lab.home / "alone"
    whole, step = str(lab.home / "1.rootman"), str(lab.home / "1-2.rootman")
    export(str(lab.repo), 1, [None], whole, fs=RealFs())
    export(str(lab.repo), 2, [1], step, fs=RealFs())
    os.rename(lab.repo, alone)

    with OfflineSource(whole) as source:
        lab.add("vi", source=source)
    check(lab, "1.1", "vi", "spell")
    with OfflineSource(step) as source:
        lab.upgrade_from(source, 2)

    check(lab, 2, "vi", "spell")
    assert links(lab) == ("olpc.2", "olpc.1.1")


def test_a_file_for_a_base_that_did_not_change(lab: Lab) -> None:
    """OF-1: there is no pack for what is the same; the store has its manifest."""
    same = {**tree(2), "usr/share/games/chess": file("chess 2")}
    lab.publish(3, same, lists=LISTS)
    lab.upgrade(2)
    lab.add("games")
    output = str(lab.home / "2-3.rootman")
    export(str(lab.repo), 3, [2], output, fs=RealFs())
    os.rename(lab.repo, lab.home / "away")

    with OfflineSource(output) as source:
        lab.upgrade_from(source, 3)

    check(lab, 3, "games")


def test_a_file_for_what_is_current_after_a_rollback(lab: Lab) -> None:
    """OF-3: the spare is of another tree then, without the bundle, and the file leads from this."""
    lab.add("vi", "games")
    lab.remove("games")
    lab.remove("vi")
    lab.rollback("1.2")
    assert [str(one.name) for one in lab.scan().stages] == ["spare.1.3"]
    output = str(lab.home / "1-2.rootman")
    export(str(lab.repo), 2, [1], output, fs=RealFs())
    os.rename(lab.repo, lab.home / "away")

    with OfflineSource(output) as source:
        lab.upgrade_from(source, 2)

    check(lab, 2, "spell", "vi")


def test_a_file_without_a_pack_for_a_bundle(lab: Lab) -> None:
    """OF-4: it is named, and what to export."""
    output = str(lab.home / "1.rootman")
    export(str(lab.repo), 2, [1], output, fs=RealFs())
    lab.upgrade(2)

    with OfflineSource(output) as source, pytest.raises(NotFound) as caught:
        lab.add("vi", source=source)

    assert "has no pack of spell that leads from nothing" in str(caught.value)
    assert caught.value.hint == "rootman export REPO --from empty"


# --- the commands -------------------------------------------------------------------------


@pytest.fixture
def machine(lab: Lab) -> Machine:
    return Machine(lab.home)


def test_add_and_remove_say_what_they_did(machine: Machine) -> None:
    rehearsed = machine.run("bundle", "add", "vi", "--from", "repo", "--dry-run").lines
    assert rehearsed[0] == "olpc.1 -> olpc.1.1 would take these steps:"
    assert "with spell, with vi; 9 added, 0 removed, 0 changed" in rehearsed
    assert rehearsed[-1] == "nothing was changed"
    assert machine.links == {"current": "olpc.1"}
    assert list((machine.store / ".rootman/objects").iterdir()) == []

    lines = machine.run("bundle", "add", "vi", "--from", "repo").lines
    assert lines[0].startswith("olpc.1 -> olpc.1.1: with spell, with vi; 9 added, 0 removed, 0 ch")
    assert lines[1] == "to go back: rootman rollback"
    document = machine.document("bundle", "add", "games", "--from", "repo")
    assert (document["version"], document["tree_name"]) == (1, "olpc.1.2")
    assert document["bundles"] == ["games", "spell", "vi"]
    assert (document["bundles_added"], document["bundles_removed"]) == (["games"], [])

    rehearsed = machine.run("bundle", "remove", "vi", "--dry-run").lines
    assert "without spell, without vi; 0 added, 8 removed, 0 changed" in rehearsed
    document = machine.document("bundle", "remove", "vi")
    assert document["bundles_removed"] == ["spell", "vi"]
    assert document["fetched"] == document["fetch_bytes"] == 0
    assert machine.run("bundle", "add", "games", "--from", "repo").lines == [
        "olpc.1.3 is current already: nothing to do"
    ]


def test_list_and_info(machine: Machine) -> None:
    assert machine.run("bundle", "list").lines[2] == "  vi     5.9 KiB  6 paths  An editor"
    machine.run("bundle", "add", "vi", "--from", "repo")

    lines = machine.run("bundle", "list", env={"ROOTMAN_REPO": "repo"}).lines
    assert [line[:7] for line in lines] == ["  games", "+ spell", "* vi   "]
    document = machine.document("bundle", "list", "repo")
    assert document["version"] == 1
    assert [(one["name"], one["here"]) for one in document["bundles"]] == [
        ("games", "absent"), ("spell", "included"), ("vi", "chosen"),
    ]  # fmt: skip
    assert machine.document("bundle", "list", machine.release(2))["version"] == 2
    info = machine.run("bundle", "info", "vi").lines
    assert info == [
        "vi of olpc.1: here, by choice", "An editor", "6 paths, 5.9 KiB", "includes spell",
    ]  # fmt: skip
    assert machine.document("bundle", "info", "base")["here"] == "included"


def test_search(machine: Machine) -> None:
    assert machine.run("search", "/bin/vi", "repo").lines == ["vi  /bin/vi"]
    assert machine.run("bundle", "search", "both", "repo").lines == [
        "games  /usr/share/both", "vi     /usr/share/both",
    ]  # fmt: skip
    lines = machine.run("search", "sh").lines
    assert lines[0].split() == ["base", "/bin/bash"]
    assert lines[-1].startswith("not searched, as they are not here: games, spell, vi (hint: ")
    assert machine.run("search", "/bin/v", "repo").lines == ["nothing found"]
    machine.run("bundle", "add", "vi", "--from", "repo")
    document = machine.document("search", "vi")
    assert [(one["bundle"], one["path"], one["here"]) for one in document["found"]] == [
        ("vi", "/bin/vi", "chosen"), ("vi", "/bin/view", "chosen"),
        ("vi", "/usr/share/vi", "chosen"),
    ]  # fmt: skip
    assert document["not_searched"] == ["games"]


def test_status_says_which_bundles_a_tree_has(machine: Machine) -> None:
    machine.run("bundle", "add", "vi", "--from", "repo")

    document = machine.document("status")
    lines = machine.run("status").lines

    assert [(one["name"], one["bundles"], one["included"]) for one in document["trees"]] == [
        ("olpc.1", [], []), ("olpc.1.1", ["vi"], ["spell"]),
    ]  # fmt: skip
    assert lines[3].endswith("current, with vi")


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_on_other_filesystems(make_fs: MakeFs, kind: Literal["xfs", "btrfs"]) -> None:
    """S1, S5."""
    lab = make_lab(make_fs(kind, size_mib=512).path, 2)
    before = snapshot(lab.tree(1))
    lab.add("vi", "games")
    assert snapshot(lab.tree(1)) == before
    lab.upgrade(2)
    lab.remove("vi")
    check(lab, "2.1", "games")
    check(lab, 2, "games", "spell", "vi")


def test_packs_are_for_each_bundle(lab: Lab) -> None:
    """PK-1, PK-3: of a folder nothing is taken from them, and nothing is missed."""
    assert all(
        pack.kept for pack in make_packs(str(lab.repo), 2, [1, None], fs=RealFs(), at_any_size=True)
    )
    lab.add("vi")
    lab.upgrade(2)
    check(lab, 2, "vi", "spell")
