"""Upgrades by packs: few bytes, and the right tree whatever becomes of the pack."""

from __future__ import annotations

import gzip
import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from rootman import upgrade
from rootman.demand import Download, check_room
from rootman.errors import InvalidInput, NotFound, Unreachable
from rootman.fsops import RealFs
from rootman.repo.export import export
from rootman.repo.offline import OfflineSource
from rootman.repo.packs import make_packs
from rootman.repo.repository import Repository
from rootman.upgrade import Options
from tests.builders import build, file, hardlink, symlink
from tests.commands import Machine
from tests.fault.faulty import Forked, KillBefore, interposed
from tests.net.servers import Scripted, web_server
from tests.net.upgrades import check_upgraded, published_lab
from tests.tampering import contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.builders import Tree
    from tests.fault.faulty import Call
    from tests.net.servers import WebServer
    from tests.stores import Lab

pytestmark = pytest.mark.loopfs

PIECE = 1 << 16
_RANDOM = random.Random(5)
PROGRAM = _RANDOM.randbytes(400_000)
CHANGED = PROGRAM[:100_000] + b"patched" + PROGRAM[100_000:]
MOVED = _RANDOM.randbytes(50_000)
TEXT = b"".join(b"line %d of a changelog\n" % number for number in range(5_000))
ONE: Tree = {
    "bin/program": file(PROGRAM, 0o755),
    "lib/libone.so.1.2": file(PROGRAM[::-1]),
    "share/doc.gz": file(gzip.compress(TEXT, mtime=0)),
    "share/old/place": file(MOVED),
    "etc/conf": file("conf"),
    **{f"man/{number}": file(TEXT[number * 9 : 30_000]) for number in range(20)},
}
TWO: Tree = {
    "bin/program": file(CHANGED, 0o755),
    "bin/same": hardlink("bin/program"),
    "lib/libone.so.1.3": file(PROGRAM[::-1] + b"more"),
    "share/doc.gz": file(gzip.compress(TEXT + b"a new line\n", mtime=0)),
    "share/new/place": file(MOVED),
    "share/new/copy": file(MOVED),
    "etc/conf": file("conf 2"),
    "etc/link": symlink("conf"),
    "etc/new": file("new"),
    **{f"man/{number}": file(TEXT[number * 9 : 30_000]) for number in range(20)},
}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a store with version 1, and a repository with versions 1 and 2 and a pack."""
    lab = published_lab(tmp_on_ext4, ONE, TWO)
    assert all(pack.kept for pack in make_packs(str(lab.repo), 2, [1, None], fs=RealFs()))
    return lab


def pack_of(lab: Lab) -> Path:
    """Return the pack from version 1 to version 2."""
    (path,) = (one for one in lab.repo.glob("packs/*/*.pack") if one.name != "empty.pack")
    return path


def objects_of(server: WebServer) -> list[str]:
    return [path for path in server.requests if path.startswith(("/objects/", "/manifests/"))]


def packs_of(server: WebServer) -> list[str]:
    return [path for path in server.requests if path.startswith("/packs/")]


def test_a_pack_is_all_that_is_asked_for(lab: Lab) -> None:
    """PK-2, PK-3: also what has moved, or changed its name, comes from the tree there is."""
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2)
        assert objects_of(server) == []
        assert len(packs_of(server)) == 1
    assert result.fetched == pack_of(lab).stat().st_size < 2_500
    check_upgraded(lab)


def test_what_a_pack_will_cost_is_said(lab: Lab) -> None:
    """HT-11, TR-9: the pack is asked for its size, and nothing of it is kept."""
    size, before = pack_of(lab).stat().st_size, contents(lab)
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2, options=Options(dry_run=True))
        assert result.download == Download(packs=size, kept=size)
        assert objects_of(server) == []
        machine = Machine(lab.home)
        found = machine.document("upgrade", server.url, "--insecure", "--dry-run")
        assert found["download_bytes"] == found["download_pack_bytes"] == size
        told = machine.run("upgrade", server.url, "--insecure", "--dry-run").lines[-2]
        assert told == "a pack of 1.2 KiB to download, 891.5 KiB to write"
    assert contents(lab) == before


def test_what_is_here_of_a_pack_costs_nothing(lab: Lab) -> None:
    """HT-11: a rehearsal counts the rest."""
    size = pack_of(lab).stat().st_size

    def cut(handler: Scripted, _count: int) -> bool:
        if handler.path.startswith("/packs/"):
            data = handler.content()
            handler.say(200, Content_Length=len(data))
            handler.send(data[:900])
            handler.break_off()
        return handler.path.startswith("/packs/")

    with web_server(lab.repo, cut) as server, pytest.raises(Unreachable):
        lab.upgrade_from(server.source(), 2)
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2, options=Options(dry_run=True))
        assert result.download.packs == size - 900
        assert lab.upgrade_from(server.source(), 2).fetched == size - 900


def test_there_is_room_for_the_pack(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """S6, HT-11: what is kept of it until the upgrade is done is counted before it is read."""
    shutil.rmtree(lab.store)
    lab.init()
    size = pack_of(lab).with_name("empty.pack").stat().st_size
    asked: list[Download] = []

    def check(*arguments: Any, **more: Any) -> None:  # noqa: ANN401  passed through
        asked.append(arguments[3])
        check_room(*arguments, **more)

    monkeypatch.setattr(upgrade, "check_room", check)
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
    (download,) = asked
    assert download == Download(packs=download.packs, kept=download.packs)
    assert 2 * PIECE < size - PIECE <= download.packs < size  # some is here, with the manifest


def test_an_installation_by_a_pack(lab: Lab) -> None:
    """PK-1: from no tree there is one as well."""
    shutil.rmtree(lab.store)
    lab.init()
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        assert objects_of(server) == []
    check_upgraded(lab)


def test_without_a_pack_what_moved_is_not_fetched(lab: Lab) -> None:
    """PK-2: a device that no pack is for asks for what its tree has nowhere."""
    pack_of(lab).unlink()
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2)
        assert len(objects_of(server)) == 1 + 5  # the manifest; program, library, doc, two of etc
    assert result.fetched < len(CHANGED) + len(PROGRAM) + len(TEXT)
    check_upgraded(lab)


@pytest.mark.parametrize("place", ["bin/program", "share/old/place"])
def test_a_file_that_was_changed_comes_by_itself(lab: Lab, place: str) -> None:
    """PK-2: the source of a delta, and what would be copied."""
    (lab.tree(1) / place).write_bytes(b"changed here")
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        assert len(objects_of(server)) == 1
    check_upgraded(lab)


WORDS = [_RANDOM.randbytes(9).hex() for _ in range(3000)]
TOOL: Tree = {"bin/gone": file("\n".join(WORDS), 0o755)}
TOOLS: Tree = {
    "bin/another": file("\n".join(["another", *WORDS[9:-9]]), 0o755),
    "bin/tool": file("\n".join(["tool", *WORDS[30:]]), 0o755),
    "lib/third": file("\n".join(["third", *WORDS[8:-8]])),
}


@pytest.mark.parametrize(("changed", "objects"), [(False, 0), (True, 3)])
def test_files_are_made_of_what_the_pack_made(
    tmp_on_ext4: Path, *, changed: bool, objects: int
) -> None:
    """PK-9: and come by themselves, all of them, where the first cannot be made."""
    lab = published_lab(tmp_on_ext4, TOOL, TOOLS)
    assert all(pack.kept for pack in make_packs(str(lab.repo), 2, [1], fs=RealFs()))
    if changed:
        (lab.tree(1) / "bin/gone").write_bytes(b"changed here")
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2)
        assert len(objects_of(server)) == objects
    assert changed or result.fetched < 2_500
    check_upgraded(lab)


@pytest.mark.parametrize("at", [0, 15, 300, 900, -400, -40, -1])
@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut off"])
def test_a_damaged_pack(lab: Lab, at: int, *, cut: bool) -> None:
    """PK-2: one line says so, and the tree is what it should be."""
    path = pack_of(lab)
    data = bytearray(path.read_bytes())
    if cut:
        del data[at:]
    else:
        data[at] ^= 0x55
    path.write_bytes(data)
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        told = [one for one in lab.heard.warnings if "pack" in one]
        assert len(told) <= 1
        assert bool(objects_of(server)) == bool(told) or not cut
    check_upgraded(lab)


def test_a_pack_for_other_trees(lab: Lab) -> None:
    """PK-2, PK-5: its header says so."""
    shutil.copy(pack_of(lab).with_name("empty.pack"), pack_of(lab))
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        assert len(objects_of(server)) == 6
    assert any("for other trees" in one for one in lab.heard.warnings)
    check_upgraded(lab)


def test_an_endless_pack(lab: Lab) -> None:
    """PK-12: no more is read than a pack can have."""

    def endless(handler: Scripted, _count: int) -> bool:
        if not handler.path.startswith("/packs/"):
            return False
        handler.say(200, Connection="close")
        handler.send(handler.content()[:2_000])
        while True:
            handler.send(b"\x06\x00\x10" + bytes(0x1000))

    with web_server(lab.repo, endless) as server:
        lab.upgrade_from(server.source(), 2)
    check_upgraded(lab)


KILLS: dict[str, Callable[[Call], bool]] = {
    "the pack begun": lambda call: call.op == "write",
    "an object begun": lambda call: call.op == "create" and call.paths[0].endswith(".part"),
    "an object whole": lambda call: call.op == "rename",
    "the tree begun": lambda call: call.op == "link",
}


@pytest.mark.parametrize("when", KILLS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_kill_and_another_try(lab: Lab, when: str, count: int) -> None:
    """PK-2, HT-9: what came of the pack is not asked for again."""
    kill = KillBefore(KILLS[when], count)
    with web_server(lab.repo) as server:

        def upgrade() -> None:
            lab.upgrade_from(server.source(), 2, interposed(lab.make_fs(), kill))

        Forked(upgrade).result()
        asked = len(packs_of(server))
        if lab.link("current") != "olpc.2":
            result = lab.upgrade_from(server.source(), 2)
            assert objects_of(server) == []
            again = [
                wanted
                for path, wanted in zip(server.requests, server.ranges, strict=True)
                if path.startswith("/packs/")
            ][asked:]
            assert len(again) <= 1
            assert result.fetched <= pack_of(lab).stat().st_size
        check_upgraded(lab)


def test_a_torn_part_is_begun_anew(lab: Lab) -> None:
    """PK-2: a power cut leaves zeros, or what was there before."""
    kill = KillBefore(KILLS["the tree begun"])
    with web_server(lab.repo) as server:

        def upgrade() -> None:
            lab.upgrade_from(server.source(), 2, interposed(lab.make_fs(), kill))

        assert Forked(upgrade).result() is None
        for kept in (lab.control / "objects").iterdir():
            size = kept.stat().st_size
            kept.write_bytes(bytes(size) if ".pack" in kept.name else b"torn")
        lab.upgrade_from(server.source(), 2)
        assert len(packs_of(server)) == 3  # whole, its end, and whole again
        assert objects_of(server) == []
    assert not any("pack" in one for one in lab.heard.warnings)
    check_upgraded(lab)


@pytest.mark.parametrize("at", [300, 900, -40])
def test_a_part_that_is_torn_in_the_middle(lab: Lab, at: int) -> None:
    """PK-2, HT-9: it is begun anew once, and what it had made by then is not made again."""
    kill = KillBefore(KILLS["the tree begun"])
    with web_server(lab.repo) as server:

        def upgrade() -> None:
            lab.upgrade_from(server.source(), 2, interposed(lab.make_fs(), kill))

        assert Forked(upgrade).result() is None
        (kept,) = (lab.control / "objects").glob("*.pack.part")
        data = kept.read_bytes()
        kept.write_bytes(data[:at] + bytes(len(data[at:])))
        made = [one for one in (lab.control / "objects").iterdir() if len(one.name) == 64]
        made[0].unlink()
        lab.upgrade_from(server.source(), 2)
        assert packs_of(server)[-1] == packs_of(server)[0]
        assert server.ranges[-1] == "-"
        assert objects_of(server) == []
    assert not any("pack" in one for one in lab.heard.warnings)
    check_upgraded(lab)


def test_a_server_that_goes_away(lab: Lab) -> None:
    """HT-8: it is said, and the next try goes on."""

    def gone(handler: Scripted, _count: int) -> bool:
        if not handler.path.startswith("/packs/"):
            return False
        data = handler.content()
        handler.say(200, Content_Length=len(data))
        handler.send(data[:900])
        handler.break_off()
        return True

    before = contents(lab, downloads=True)
    with web_server(lab.repo, gone) as server, pytest.raises(Unreachable):
        lab.upgrade_from(server.source(), 2)
    assert contents(lab, downloads=True) == before
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        assert server.ranges[server.requests.index(packs_of(server)[0])] == "bytes=900-"
    check_upgraded(lab)


def test_download_now_and_install_later(lab: Lab) -> None:
    """HT-9: the second needs no server, and nor does its rehearsal."""
    machine = Machine(lab.home)
    with web_server(lab.repo) as server:
        machine.run("upgrade", server.url, "--insecure", "--download-only")
        assert objects_of(server) == []
    lab.repo.rename(lab.home / "gone")
    found = machine.document("upgrade", "--dry-run")
    assert (found["version"], found["download_bytes"]) == (2, 0)
    machine.run("upgrade")
    check_upgraded(lab)


# --- a release in one file --------------------------------------------------------------


def exported(lab: Lab, *origins: int | None, version: int = 2) -> str:
    output = f"{lab.home}/olpc.rootman"
    export(str(lab.repo), version, origins, output, fs=RealFs())
    return output


def take(lab: Lab, path: str, options: Options | None = None) -> None:
    lab.upgrade_from(OfflineSource(path), 2, options=options)


@pytest.mark.parametrize("origins", [(1,), (None,), (None, 1)])
def test_an_upgrade_from_a_file(lab: Lab, origins: tuple[int | None, ...]) -> None:
    """OF-1, OF-3: nothing else is needed."""
    path = exported(lab, *origins)
    if None not in origins or len(origins) > 1:
        lab.repo.rename(lab.home / "gone")
        take(lab, path)
    else:
        shutil.rmtree(lab.store)
        lab.init()
        take(lab, path)
    check_upgraded(lab)


def test_a_rehearsal_with_a_file(lab: Lab) -> None:
    """TR-9: the store is as it was."""
    before = contents(lab)
    take(lab, exported(lab, 1), Options(dry_run=True))
    assert contents(lab) == before


def test_a_file_that_leads_from_another_version(lab: Lab) -> None:
    """OF-4: it is said which way there is none."""
    lab.publish(3, {**TWO, "etc/third": file("third")})
    path = exported(lab, 2, version=3)
    before = contents(lab)
    with pytest.raises(NotFound, match="no pack that leads from version 1"):
        lab.upgrade_from(OfflineSource(path), 3)
    assert contents(lab) == before


def test_a_file_from_empty_upgrades_any_device(lab: Lab) -> None:
    """OF-4: what the tree has anyway is not written."""
    path, made = exported(lab, None), list[str]()

    def tap(call: Call) -> None:
        if call.op == "create" and "/objects/" in call.paths[0]:
            made.append(os.path.basename(call.paths[0]))

    take(lab, path, Options(dry_run=True))
    lab.upgrade_from(OfflineSource(path), 2, interposed(lab.make_fs(), tap))
    assert len(made) == 1 + 6  # the manifest; program, library, doc, moved, two of etc
    check_upgraded(lab)


def test_a_file_from_empty_and_a_tree_that_was_changed(lab: Lab) -> None:
    """OF-4: it makes that file, too."""
    (lab.tree(1) / "man/3").write_bytes(b"changed here")
    take(lab, exported(lab, None))
    check_upgraded(lab)


def test_a_file_and_a_tree_that_was_changed(lab: Lab) -> None:
    """OF-4: what a file does not make again is named, and nothing is half done."""
    path = exported(lab, 1)
    (lab.tree(1) / "bin/program").write_bytes(b"changed here")
    before = contents(lab, downloads=True)
    with pytest.raises(NotFound, match="does not make bin/program"):
        take(lab, path)
    assert contents(lab, downloads=True) == before


@pytest.mark.parametrize("size", [0, 100, 600, 5_000])
def test_a_file_that_is_cut_off(lab: Lab, size: int) -> None:
    """OF-1: one line."""
    path = exported(lab, 1)
    os.truncate(path, size)
    before = contents(lab, downloads=True)
    told = Machine(lab.home).refused("upgrade", path, code=InvalidInput.exit_code)
    assert "olpc.rootman" in told
    assert contents(lab, downloads=True) == before


def test_an_export_replaces_a_file_at_once(lab: Lab) -> None:
    """OF-2: whoever reads has the old one or the new one."""
    path = exported(lab, 1)
    with OfflineSource(path) as source:
        exported(lab, None)
        with Repository(source) as repository:
            assert repository.versions() == [2]
            assert source.origins(repository.read_release(2).base.manifest) != [""]
    assert os.listdir(lab.home).count("olpc.rootman.part") == 0


def test_the_command(lab: Lab) -> None:
    machine = Machine(lab.home)
    output = lab.home / "a.rootman"
    found = machine.document("export", lab.repo, "--from", "1", "-o", output)
    assert (found["version"], found["from"]) == (2, [1])
    assert found["size"] == output.stat().st_size
    machine.run("upgrade", output)
    check_upgraded(lab)
    packs = machine.document("repo", "pack", lab.repo, "--version", "1")["packs"]
    assert [(one["from"], one["kept"]) for one in packs] == [(None, True)]
    assert "1 to 1" in machine.refused(
        "repo", "pack", lab.repo, "--version", 1, "--from", 1, code=3
    )
    build(lab.home / "three", {**TWO, "etc/third": file("third")})
    machine.run("publish", lab.home / "three", lab.repo, "--version", 3)
    refused = machine.refused("export", lab.repo, "--from", 9, "-o", lab.home / "b", code=8)
    assert "release 9" in refused
    assert not (lab.home / "b").exists()
