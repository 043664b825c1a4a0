"""Downloads that were cut off in the middle of a file: what is here of it is not fetched again."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import zstandard

from rootman import upgrade
from rootman.demand import Download, Room
from rootman.errors import InvalidInput, NoSpace, RootmanError, Unreachable
from rootman.objects import Objects
from rootman.partial import Partial
from rootman.repo.mirrors import Mirrors, _Roving
from rootman.upgrade import Options
from tests.builders import file, symlink
from tests.fault.faulty import Forked, KillBefore, interposed
from tests.net.servers import Scripted, web_server
from tests.net.test_fetch import object_path, spoiling
from tests.net.upgrades import check_upgraded, published_lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.builders import Tree
    from tests.fault.faulty import Call
    from tests.net.servers import Fault, WebServer
    from tests.stores import Lab

pytestmark = pytest.mark.loopfs

PIECE = 1 << 16
_RANDOM = random.Random(7)
BIG = _RANDOM.randbytes(1_000_000)
ONE: Tree = {"etc/conf": file("conf")}
# What is not compressed away makes a manifest of several pieces.
LINKS = {f"links/{number}": symlink(_RANDOM.randbytes(1_000).hex()) for number in range(200)}
TWO: Tree = {**ONE, "usr/big": file(BIG), "etc/other": file("other"), **LINKS}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    return published_lab(tmp_on_ext4, ONE, TWO)


def asked(server: WebServer, path: str) -> list[str]:
    """Return what was asked for of the files below ``path``, as in ``Range``."""
    pairs = zip(server.requests, server.ranges, strict=True)
    return [wanted for one, wanted in pairs if one.startswith(path)]


def cut_off(lab: Lab, server: WebServer, name: str, pieces: int) -> Path:
    """Have an upgrade killed when so many ``pieces`` of a file are here; return where they are."""

    def wanted(call: Call) -> bool:
        return call.op == "write" and call.paths[0].endswith(f"{name}.zst.part")

    def upgrade() -> None:
        fs = interposed(lab.make_fs(), KillBefore(wanted, pieces))
        lab.upgrade_from(server.source(), 2, fs)

    assert Forked(upgrade).result() is None
    kept = lab.control / f"objects/{name}.zst.part"
    assert kept.stat().st_size == pieces * PIECE
    return kept


def digest_of(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".zst")


def manifest_path(lab: Lab) -> str:
    (path,) = (one for one in lab.repo.glob("manifests/*") if one.stat().st_size > 2 * PIECE)
    return f"/manifests/{path.name}"


def go_on_after_a_kill(lab: Lab, server: WebServer, path: str, pieces: int) -> None:
    cut_off(lab, server, digest_of(path), pieces)
    lab.upgrade_from(server.source(), 2)
    assert asked(server, path) == ["-", f"bytes={pieces * PIECE}-"]
    check_upgraded(lab)


def test_an_object_goes_on_after_a_kill(lab: Lab) -> None:
    """HT-5, HT-9: its bytes that are here are not asked for again, at whatever they broke off."""
    with web_server(lab.repo) as server:
        go_on_after_a_kill(lab, server, object_path(BIG), 3)
        assert len(asked(server, "/manifests/")) == 1


def test_a_manifest_goes_on_after_a_kill(lab: Lab) -> None:
    """HT-5, HT-9."""
    with web_server(lab.repo) as server:
        go_on_after_a_kill(lab, server, manifest_path(lab), 1)


def test_an_object_whose_end_was_all_that_was_missing(lab: Lab) -> None:
    """HT-9: all of it is here, and was not verified yet."""
    path = object_path(BIG)
    size = (lab.repo / path[1:]).stat().st_size
    with web_server(lab.repo) as server:
        kept = cut_off(lab, server, digest_of(path), 1)
        kept.write_bytes((lab.repo / path[1:]).read_bytes())
        lab.upgrade_from(server.source(), 2)
        assert asked(server, path) == ["-", f"bytes={size}-"]
    check_upgraded(lab)


def zeros_at_the_end(data: bytes) -> bytes:
    return data[:-5_000] + bytes(5_000)


def other_bytes(data: bytes) -> bytes:
    return data[:100] + b"?" + data[101:]


def nothing(_data: bytes) -> bytes:
    return b""


def more_than_there_is(data: bytes) -> bytes:
    return data * 9


TEARS = (zeros_at_the_end, other_bytes, nothing, more_than_there_is)


@pytest.mark.parametrize("knows_ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("of", ["object", "manifest"])
def test_what_was_torn_is_begun_anew(
    lab: Lab, of: str, tear: Callable[[bytes], bytes], *, knows_ranges: bool
) -> None:
    """HT-9, ST-12: what a power cut left is not taken for granted, and costs one more try."""
    path = object_path(BIG) if of == "object" else manifest_path(lab)

    def fault(handler: Scripted, _count: int) -> bool:
        if not knows_ranges:
            del handler.headers["Range"]
        return False

    with web_server(lab.repo, fault) as server:
        kept = cut_off(lab, server, digest_of(path), 2)
        torn = tear(kept.read_bytes())
        kept.write_bytes(torn)
        lab.upgrade_from(server.source(), 2)
        again = asked(server, path)[1:]
        assert again == ([f"bytes={len(torn)}-", "-"] if torn else ["-"])
    check_upgraded(lab)


def test_what_was_torn_comes_from_a_mirror(lab: Lab) -> None:
    """HT-7, HT-9: and so does what the first has damaged."""
    path = object_path(BIG)
    with web_server(lab.repo) as good:
        kept = cut_off(lab, good, digest_of(path), 2)
        kept.write_bytes(other_bytes(kept.read_bytes()))
        before = len(asked(good, path))
        with web_server(lab.repo, spoiling(path, lambda data: data[::-1])) as bad:
            lab.upgrade_from(Mirrors(bad.source(), [good.source()]), 2)
            assert asked(bad, path) == [f"bytes={2 * PIECE}-"]
        assert asked(good, path)[before:] == ["-"]
    check_upgraded(lab)


def test_what_is_damaged_everywhere_is_not_kept(lab: Lab) -> None:
    """HT-9, RL-10: the next try is not about the same bytes."""
    path = object_path(BIG)
    with web_server(lab.repo) as server:
        kept = cut_off(lab, server, digest_of(path), 2)
    with (
        web_server(lab.repo, spoiling(path, lambda data: data[::-1])) as bad,
        pytest.raises(InvalidInput, match=digest_of(path)),
    ):
        lab.upgrade_from(bad.source(), 2)
    assert not kept.exists()
    lab.upgrade(2)
    check_upgraded(lab)


def breaking_off(path: str, at: int) -> Fault:
    """Return a server that sends a file up to ``at`` of its bytes, and no more."""

    def fault(handler: Scripted, count: int) -> bool:
        if not handler.path.startswith(path):
            return False
        data = handler.content()
        if count == 0:
            handler.say(200, Content_Length=len(data))
            handler.send(data[:at])
        handler.break_off()
        return True

    return fault


@pytest.mark.parametrize("of", ["object", "manifest"])
def test_a_server_that_goes_away(lab: Lab, of: str) -> None:
    """HT-9: what had come is kept, to the byte."""
    path = object_path(BIG) if of == "object" else manifest_path(lab)
    at = 2 * PIECE + 77
    with web_server(lab.repo, breaking_off(path, at)) as server, pytest.raises(Unreachable):
        lab.upgrade_from(server.source(), 2)
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        assert asked(server, path) == [f"bytes={at}-"]
    check_upgraded(lab)


def test_a_mirror_goes_on_in_the_middle(lab: Lab) -> None:
    """HT-7: what one server does not give any more, the next gives from there on."""
    path, at = object_path(BIG), 5 * PIECE + 3
    with web_server(lab.repo, breaking_off(path, at)) as first, web_server(lab.repo) as second:
        mirrors = Mirrors(first.source(), [second.source()])
        lab.upgrade_from(mirrors, 2)
        assert asked(second, path) == [f"bytes={at}-"]
    check_upgraded(lab)


def test_what_is_here_takes_no_room_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """S6, HT-11: a disk that is full of what was fetched has room for the upgrade."""
    path, size = object_path(BIG), (lab.repo / object_path(BIG)[1:]).stat().st_size
    rehearsal = Options(dry_run=True)
    with web_server(lab.repo) as server:
        fresh = lab.upgrade_from(server.source(), 2, options=rehearsal)
        manifest = (lab.repo / manifest_path(lab)[1:]).stat().st_size
        content = len(BIG) + len(b"other")
        assert fresh.download == Download(0, content + manifest, kept=len(BIG))
        whole = size // PIECE
        cut_off(lab, server, digest_of(path), whole)
        here = sum(left.stat().st_size for left in left_of(lab))
        assert here >= whole * PIECE  # and of its content, what could be made of it by then
        room = Room(len(BIG) * 2 + 500_000 + 250 * 4096 - here, None)
        monkeypatch.setattr(upgrade, "room_of", lambda _: room)
        again = lab.upgrade_from(server.source(), 2, options=rehearsal)
        assert again.download == Download(0, len(BIG) - whole * PIECE, len(BIG), here)
        for left in left_of(lab):
            left.unlink()
        with pytest.raises(NoSpace):
            lab.upgrade_from(server.source(), 2, options=rehearsal)


def left_of(lab: Lab) -> list[Path]:
    """Return what is here of objects, and not of the manifest."""
    name = manifest_path(lab).rpartition("/")[2]
    return [path for path in (lab.control / "objects").iterdir() if path.name != name]


def test_a_part_that_nothing_needs_any_more(lab: Lab) -> None:
    """ST-12: it goes with the next upgrade, whichever that is."""
    path = object_path(BIG)
    with web_server(lab.repo) as server:
        kept = cut_off(lab, server, digest_of(path), 1)
        lab.publish(3, {**ONE, "etc/conf": file("conf 3")})
        lab.upgrade_from(server.source(), 3)
    assert lab.link("current") == "olpc.3"
    assert not kept.exists()


def sending_nothing_for_ever(path: str) -> Fault:
    """Return a server that sends frames without content as a file."""
    skipped = b"\x50\x2a\x4d\x18" + (1 << 16).to_bytes(4, "little") + bytes(1 << 16)
    assert zstandard.ZstdDecompressor().stream_reader(skipped).read(1) == b""

    def fault(handler: Scripted, _count: int) -> bool:
        if handler.path != path:
            return False
        handler.close_connection = True
        handler.say(200)
        while True:
            handler.send(skipped)

    return fault


@pytest.mark.parametrize("of", [BIG, b"other"], ids=["large", "small"])
def test_frames_without_content_have_an_end(lab: Lab, of: bytes) -> None:
    """HT-6: bytes that make nothing are bounded, too."""
    with (
        web_server(lab.repo, sending_nothing_for_ever(object_path(of))) as server,
        pytest.raises(InvalidInput, match=sha256(of).hexdigest()),
    ):
        lab.upgrade_from(server.source(), 2)


def test_frames_without_content_have_an_end_in_a_rehearsal(lab: Lab) -> None:
    """HT-6, MG-14: of a file of configuration it is told that its content was not to be had."""
    user = "{0}:x:0:0::/:/bin/sh\n".format
    for version, users in ((3, user("root")), (4, user("root") + user("other"))):
        lab.publish(version, {**ONE, "etc/passwd": file(users)}, config=("/etc",))
    lab.upgrade(3)
    (lab.tree(3) / "etc/passwd").write_text(user("root") + user("me"))
    path = object_path((user("root") + user("other")).encode())
    with web_server(lab.repo, sending_nothing_for_ever(path)) as server:
        told = lab.upgrade_from(server.source(), 4, options=Options(dry_run=True)).merge
        assert asked(server, path) == ["-"]
    assert told is not None
    (finding,) = told.findings
    assert finding.path == b"etc/passwd"
    assert finding.what[-1] == "what comes of it is known when its new default is here"


# --- the tests see what they are there to see --------------------------------------------


def goes_on_no_more(_self: object, error: Exception) -> None:
    raise error


Mutant = tuple[type, str, "Callable[..., object]"]
MUTANTS: dict[str, tuple[Mutant, Callable[[Lab], None]]] = {
    "what comes is not kept": (
        (Partial, "keep", lambda self: self._unkept.clear()),
        test_an_object_goes_on_after_a_kill,
    ),
    "what is kept is not looked for": (
        (Objects, "open_part", lambda _self, _name: None),
        test_a_manifest_goes_on_after_a_kill,
    ),
    "what was torn stays": (
        (Partial, "_begin_anew", lambda _self: None),
        lambda lab: test_what_was_torn_is_begun_anew(lab, "object", other_bytes, knows_ranges=True),
    ),
    "what was torn is added to": (
        (Partial, "_drop", lambda _self: None),
        test_what_is_damaged_everywhere_is_not_kept,
    ),
    "mirrors do not go on": (
        (_Roving, "_suffer", goes_on_no_more),
        test_a_mirror_goes_on_in_the_middle,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (place, method, mutated), test = MUTANTS[name]
    monkeypatch.setattr(place, method, mutated)
    with pytest.raises((AssertionError, RootmanError, OSError)):
        test(lab)
