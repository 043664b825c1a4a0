"""Bundles from a server: what is asked for, and what of it is trusted."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

import pytest

from rootman.downloads import Downloads
from rootman.fsops import RealFs
from rootman.repo import layout
from rootman.repo.packs import make_packs
from rootman.repo.repository import Repository
from rootman.upgrade import Options, upgrade
from tests.builders import Tree, build, differences, directory, file, published, snapshot
from tests.commands import Machine
from tests.fault.faulty import Forked, KillBefore, interposed
from tests.net.servers import web_server
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rootman.release import Release
    from tests.net.servers import WebServer

pytestmark = pytest.mark.loopfs

RANDOM = Random(3)
PROGRAM, EDITOR = RANDOM.randbytes(90_000), RANDOM.randbytes(90_000)
WORDS = "".join(f"word {number}\n" for number in range(3000))
LISTS = {
    "editor": "/bin/editor\n/share/editor\ninclude spell",
    "spell": "/share/spell",
    "games": "/games",
}


def tree(version: int, *bundles: str) -> Tree:
    """Return what a device has of a version with these bundles."""
    patch = b"" if version == 1 else b"patched"
    found: Tree = {
        ".": directory(),
        "bin/program": file(PROGRAM + patch),
        "etc/conf": file(f"conf {version}"),
        "share/doc": file(WORDS),
    }
    if "editor" in bundles:
        found["bin/editor"] = file(EDITOR[:1000] + patch + EDITOR[1000:])
        found |= {f"share/editor/{number}": file(f"{number} {WORDS}") for number in range(9)}
    if "spell" in bundles:
        found |= {f"share/spell/{number}": file(f"{WORDS} {number}") for number in range(9)}
    if "games" in bundles:
        found["games/chess"] = file(f"chess {version} {WORDS}")
    return found


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a store with version 1, and a repository with versions 1 and 2 and all packs."""
    lab = Lab(tmp_on_ext4)
    for version in (1, 2):
        lab.publish(version, tree(version, *LISTS), lists=LISTS)
        origins = [None] if version == 1 else [1, None]
        list(make_packs(str(lab.repo), version, origins, fs=RealFs(), at_any_size=True))
    lab.init()
    lab.upgrade(1)
    return lab


def release(lab: Lab, version: int) -> Release:
    with Repository.open(str(lab.repo)) as repository:
        return repository.read_release(version)


def packs(lab: Lab, old: int | None, new: int, names: Iterable[str]) -> set[str]:
    """Return the paths of the packs that lead these bundles from one release to another."""
    found = set()
    for name in names:
        before = release(lab, old).bundle(name) if old else None
        after = release(lab, new).bundle(name)
        assert after is not None
        found.add("/" + layout.pack_path(before.manifest if before else "", after.manifest))
    return found


def sizes(lab: Lab, paths: Iterable[str]) -> int:
    return sum((lab.repo / path[1:]).stat().st_size for path in paths)


def asked(server: WebServer) -> set[str]:
    """Return what was asked for, but for what says which releases there are."""
    small = ("/releases/", "/repository.json", "/metadata/")
    return {path for path in server.requests if not path.startswith(small)}


def check(lab: Lab, number: int | str, *bundles: str) -> None:
    version = int(str(number).partition(".")[0])
    path = lab.home / f"wanted.{number}"
    wanted = snapshot(build(path, tree(version, *bundles)))
    assert differences(published(snapshot(lab.tree(number))), published(wanted)) == []
    assert lab.link("current") == f"olpc.{number}"
    assert lab.verify(number) == []
    assert os.listdir(lab.control / "objects") == []


def test_packs_of_what_is_new_are_all_that_is_asked_for(lab: Lab) -> None:
    """BU-10, PK-2: to add, the packs from nothing; to upgrade, those of what changed."""
    with web_server(lab.repo) as server:
        result = lab.add("editor", source=server.source())
        wanted = packs(lab, None, 1, ["editor", "spell"])
        assert asked(server) == wanted
        assert len([one for one in server.requests if one.startswith("/packs/")]) == 2
    assert result.fetched == sizes(lab, wanted)
    check(lab, "1.1", "editor", "spell")

    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2)
        wanted = packs(lab, 1, 2, ["base", "editor"])
        assert asked(server) == wanted  # spell is as it was
    assert result.fetched == sizes(lab, wanted) < 2_000
    check(lab, 2, "editor", "spell")


def test_without_packs_only_what_is_new_is_fetched(lab: Lab) -> None:
    """BU-10: a manifest that is here is not asked for, nor an object."""
    for path in lab.repo.glob("packs/*/*"):
        path.unlink()
    lab.add("editor")
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        found = asked(server)
    manifests = {path for path in found if path.startswith("/manifests/")}
    wanted = [release(lab, 2).bundle(name) for name in ("base", "editor")]
    assert manifests == {f"/{layout.manifest_path(one.manifest)}" for one in wanted if one}
    assert len([path for path in found if path.startswith("/objects/")]) == 3
    check(lab, 2, "editor", "spell")


def test_a_bundle_that_comes_by_an_include(lab: Lab) -> None:
    """BU-7: by the pack from nothing, beside those from the version that was."""
    lists = {**LISTS, "editor": f"{LISTS['editor']}\ninclude games"}
    lab.publish(3, tree(2, *LISTS), lists=lists)
    list(make_packs(str(lab.repo), 3, [1, None], fs=RealFs(), at_any_size=True))
    lab.add("editor")
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 3)
        wanted = packs(lab, 1, 3, ["base", "editor"]) | packs(lab, None, 3, ["games"])
        # That a pack from the version before could not lead to games is not known before.
        assert asked(server) == wanted
    build(lab.home / "wanted.3", tree(2, *LISTS))
    found, made = (published(snapshot(one)) for one in (lab.tree(3), lab.home / "wanted.3"))
    assert differences(found, made) == []


@pytest.mark.parametrize("name", ["base", "editor"])
def test_a_damaged_pack_of_one_bundle(lab: Lab, name: str) -> None:
    """PK-2: the others are used."""
    lab.add("editor")
    (path,) = packs(lab, 1, 2, [name])
    data = bytearray((lab.repo / path[1:]).read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (lab.repo / path[1:]).write_bytes(data)
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        assert packs(lab, 1, 2, ["base", "editor"]) <= asked(server)
    check(lab, 2, "editor", "spell")


@pytest.mark.parametrize("name", ["manifest.zst", "edits.zst", "seal.json", "bundle"])
@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_a_damaged_record_of_the_spare(lab: Lab, name: str, how: str) -> None:
    """PK-2, TR-13: it is not used, and what it would have had comes from elsewhere."""
    lab.add("editor")
    meta = lab.control / "staging/spare.1.1/meta"
    found = max(meta.iterdir(), key=lambda path: len(path.name))
    path = found if name == "bundle" else meta / name
    path.unlink()  # the tree has it, too
    if how == "garbage":
        path.write_bytes(b"garbage")
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
    check(lab, 2, "editor", "spell")


@pytest.mark.parametrize("skip", range(8))
def test_what_came_before_a_kill_is_not_asked_for_again(lab: Lab, skip: int) -> None:
    """HT-9: of no bundle."""
    with web_server(lab.repo) as server:
        source = server.source()
        mortal = interposed(RealFs(), KillBefore(lambda call: call.op == "rename", skip * 3))
        Forked(lambda: lab.add("editor", "games", fs=mortal, source=source)).result()
        before = len(server.requests)
        lab.add("editor", "games", source=server.source())
        again = [one for one in server.requests[before:] if not one.startswith("/re")]
        assert not any(one.startswith(("/objects/", "/manifests/")) for one in again)
    assert lab.verify("1.1") == []
    check(lab, "1.1", *LISTS)


def test_downloaded_now_and_installed_later(lab: Lab) -> None:
    """ST-12: with the bundles that were chosen, and no network."""
    lab.add("editor")
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2, options=Options(download_only=True))
    os.rename(lab.repo, lab.home / "away")
    assert lab.link("current") == "olpc.1.1"

    with lab.session() as opened, Repository(Downloads(opened.store)) as repository:
        upgrade(opened, repository, Options())

    check(lab, 2, "editor", "spell")


def test_a_rehearsal_takes_manifests_from_packs_and_keeps_nothing(lab: Lab) -> None:
    """BU-8, HT-11."""
    before = snapshot(lab.store)
    with web_server(lab.repo) as server:
        done = Machine(lab.home).run(
            "bundle", "add", "editor", "--from", server.url, "--insecure", "--dry-run"
        )
        packs = {one for one in asked(server) if one.endswith("/empty.pack")}
    assert done.lines[-1] == "nothing was changed"
    assert len(packs) == 2
    assert differences(published(snapshot(lab.store)), published(before)) == []


def test_search_asks_for_what_is_not_here(lab: Lab) -> None:
    """BU-11: the manifests of bundles, and not that of base, which the tree has."""
    with web_server(lab.repo) as server:
        found = Machine(lab.home).document("search", "chess", server.url, "--insecure")
        assert len([one for one in asked(server) if one.startswith("/manifests/")]) == 3
        assert not any(one.startswith("/objects/") for one in server.requests)
    assert [(one["bundle"], one["path"]) for one in found["found"]] == [("games", "/games/chess")]


# --- trust --------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Return a device that trusts a key, with version 1 of a signed repository."""
    machine = Machine(tmp_on_ext4)
    build(machine.source(1), tree(1, *LISTS))
    for name, text in LISTS.items():
        (machine.home / f"{name}.list").write_text(text)
    machine.run("repo", "keys", "new", "key")
    lists = [word for name in LISTS for word in ("--bundle", f"{name}={name}.list")]
    machine.run("publish", "source.1", "repo", "--version", 1, *lists, "--sign", "key")
    machine.run("init", "--trust", "repo/metadata/1.root.json")
    machine.run("upgrade", "repo")
    return machine


def test_what_is_signed_is_taken(machine: Machine) -> None:
    """TU-12: without a note, from a server as well."""
    with web_server(machine.repo) as server:
        done = machine.attempt("bundle", "add", "editor", "--from", server.url)
        listed = machine.attempt("bundle", "list", server.url)

    assert (done.code, done.err, done.is_unverified) == (0, "", False)
    assert (listed.code, listed.err, listed.is_unverified) == (0, "", False)
    assert machine.links["current"] == "olpc.1.1"


@pytest.mark.parametrize("command", ["add games --from", "list", "info games", "search games"])
def test_what_was_not_signed_is_refused(machine: Machine, command: str) -> None:
    """TU-12: a release with other bundles than those that were signed."""
    path = machine.repo / "releases/1.json"
    path.write_text(path.read_text().replace('"name": "games"', '"name": "gamez"'))

    words = command.split()
    line = machine.refused("bundle", *words, "repo", code=3)

    assert "not the one that was signed" in line


def test_a_server_is_not_trusted_where_nothing_is(machine: Machine, tmp_on_ext4: Path) -> None:
    """TU-13."""
    lab = Lab(tmp_on_ext4 / "other")
    lab.home.mkdir()
    lab.publish(1, tree(1, *LISTS), lists=LISTS)
    lab.init()
    lab.upgrade(1)
    with web_server(machine.repo) as server:
        line = Machine(lab.home).refused("bundle", "add", "games", "--from", server.url, code=4)
    assert "there is no trust by which to know what comes from there" in line
