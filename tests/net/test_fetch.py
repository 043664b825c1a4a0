"""Upgrades from a web server: whole or not at all, and nothing fetched twice."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, BinaryIO

import pytest
import zstandard

from rootman.errors import InvalidInput, NotFound, Refused, RootmanError, Unreachable
from rootman.fetching import fetch
from rootman.fsops import RealFs
from rootman.manifest import Entry
from rootman.objects import Objects
from rootman.repo.mirrors import Mirrors
from rootman.repo.repository import Repository, locate
from rootman.upgrade import Options
from tests.builders import differences, file, hardlink, snapshot, symlink
from tests.commands import ROOTMAN, Machine
from tests.fault.faulty import Forked, KillBefore, interposed
from tests.net.servers import Scripted, web_server
from tests.net.upgrades import check_upgraded, published_lab
from tests.tampering import contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.builders import Tree
    from tests.fault.faulty import Call
    from tests.stores import Lab
    from tests.tampering import Snapshot

pytestmark = pytest.mark.loopfs

BIG = random.Random(5).randbytes(900_000)
ONE: Tree = {"etc/conf": file("conf"), "bin/tool": file("tool", 0o755), "empty": file("")}
TWO: Tree = {
    **ONE,
    "etc/conf": file("conf 2"),
    "lib": symlink("usr/lib"),
    "usr/lib/big": file(BIG),
    "usr/lib/same": file(BIG),
    "usr/lib/linked": hardlink("usr/lib/big"),
    "usr/lib/sparse": file(b"\0" * 700_000 + b"x" + b"\0" * 100_000),
    **{f"usr/share/{number}": file(f"file {number}" * (number + 1)) for number in range(120)},
}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    return published_lab(tmp_on_ext4, ONE, TWO)


def all_but_downloads(lab: Lab) -> Snapshot:
    """Return the store without ``objects``, whose directory is as large as it once was."""
    found = contents(lab, downloads=True)
    del found[".rootman/objects"]
    return found


def objects_of(requests: list[str]) -> list[str]:
    return [path for path in requests if path.startswith(("/objects/", "/manifests/"))]


def object_path(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"/objects/{digest[:2]}/{digest}.zst"


def test_an_upgrade_from_a_server(lab: Lab) -> None:
    """HT-8: the tree is the one that was published, each object was asked for once."""
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2)
        asked = objects_of(server.requests)
        assert len(asked) == len(set(asked)) == 1 + 120 + 3
        assert server.connections <= 8
    assert result.fetched == 900_000 + 800_001 + 6 + sum(
        len(f"file {number}") * (number + 1) for number in range(120)
    )
    check_upgraded(lab)
    sparse = lab.tree(2) / "usr/lib/sparse"
    assert sparse.stat().st_blocks * 512 < sparse.stat().st_size / 2
    inodes = {(lab.tree(2) / f"usr/lib/{name}").stat().st_ino for name in ("big", "same")}
    assert len(inodes) == 2


def test_several_requests_are_in_flight(lab: Lab) -> None:
    """HT-8: the first eight are answered when all eight have been asked for."""
    barrier = threading.Barrier(8)

    def fault(handler: Scripted, _count: int) -> bool:
        if handler.path.startswith("/objects/") and not barrier.broken:
            try:
                barrier.wait(30)
            except threading.BrokenBarrierError:
                handler.break_off()
                return True
            barrier.abort()
        return False

    with web_server(lab.repo, fault) as server:
        lab.upgrade_from(server.source(), 2)
    check_upgraded(lab)


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    before = contents(lab)
    with web_server(lab.repo) as server:
        result = lab.upgrade_from(server.source(), 2, options=Options(dry_run=True))
        assert len(objects_of(server.requests)) == 1
    assert result.needs is not None
    assert result.needs.fetch_objects == 124
    assert contents(lab) == before


# --- what is wrong --------------------------------------------------------------------


def wrong_content(_data: bytes) -> bytes:
    return zstandard.compress(b"something else")


def changed(data: bytes) -> bytes:
    """Return as much content as it should be, and other."""
    content = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return zstandard.compress(content[:-1] + b"?")


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbage(data: bytes) -> bytes:
    return bytes(byte ^ 0x55 for byte in data)


def bomb(_data: bytes) -> bytes:
    """Return a gigabyte of zeros, in few bytes."""
    frame = zstandard.compress(bytes(1 << 23))
    return frame * 128


def wide(data: bytes) -> bytes:
    """Return the content in a frame that wants 64 MiB to be decompressed."""
    content = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    parameters = zstandard.ZstdCompressionParameters(window_log=26, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(content) + stream.flush()


def nothing(_data: bytes) -> bytes:
    return b""


FLAWS = (wrong_content, changed, truncated, garbage, bomb, wide, nothing)


def spoiling(path: str, spoil: Callable[[bytes], bytes]) -> Callable[[Scripted, int], bool]:
    def fault(handler: Scripted, _count: int) -> bool:
        if not handler.path.startswith(path):
            return False
        data = spoil(handler.content())
        handler.say(200, Content_Length=len(data))
        handler.send(data)
        return True

    return fault


@pytest.mark.parametrize("path", [object_path(BIG), "/manifests/"])
@pytest.mark.parametrize("spoil", FLAWS)
def test_what_is_wrong_is_refused(lab: Lab, spoil: Callable[[bytes], bytes], path: str) -> None:
    """RL-10, HT-6: the store stays as it was, with nothing but what is right of the downloads."""
    before = all_but_downloads(lab)
    with web_server(lab.repo, spoiling(path, spoil)) as server:
        with pytest.raises(InvalidInput, match=r"(object|manifest) [0-9a-f]{64}"):
            lab.upgrade_from(server.source(), 2)
        assert all_but_downloads(lab) == before
        for left in (lab.control / "objects").iterdir():
            if left.suffix == ".part":  # of another object
                there = next(lab.repo.rglob(left.stem))
                assert there.read_bytes().startswith(left.read_bytes())
            elif left.suffix != ".zst":
                assert hashlib.sha256(left.read_bytes()).hexdigest() == left.name

    lab.upgrade(2)
    check_upgraded(lab)


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (changed, object_path(BIG)),
        (truncated, object_path(BIG)),
        (changed, object_path(b"conf 2")),
        (changed, "/manifests/"),
    ],
)
def test_a_mirror_takes_over(lab: Lab, spoil: Callable[[bytes], bytes], path: str) -> None:
    """HT-7: what was begun from the first is not continued from the second."""
    with web_server(lab.repo, spoiling(path, spoil)) as bad, web_server(lab.repo) as good:
        lab.upgrade_from(Mirrors(bad.source(), [good.source()]), 2)
        assert [one.startswith(path) for one in objects_of(good.requests)] == [True]
    check_upgraded(lab)


def test_a_server_that_dies_in_the_middle(lab: Lab) -> None:
    """HT-4, HT-9: it fails in one line; what had come is used when it is there again."""
    before = all_but_downloads(lab)

    def fault(handler: Scripted, _count: int) -> bool:
        if handler.path < "/objects/8":
            return False
        handler.break_off()
        return True

    with web_server(lab.repo, fault) as server:
        with pytest.raises(Unreachable, match="tried 3 times"):
            lab.upgrade_from(server.source(), 2)
        assert all_but_downloads(lab) == before
    kept = {left.name for left in (lab.control / "objects").iterdir() if left.suffix != ".part"}
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2)
        again = {os.path.basename(path) for path in objects_of(server.requests)}
        assert again.isdisjoint({f"{name}.zst" for name in kept} | kept)
    check_upgraded(lab)


@pytest.mark.parametrize("at", [0, 3, 60, 122])
def test_a_kill_in_the_middle(lab: Lab, at: int) -> None:
    """HT-9: what was verified before is not asked for again."""

    def hang(handler: Scripted, _count: int) -> bool:
        with lock:
            counts["objects"] += handler.path.startswith("/objects/")
            late = counts["objects"] > at
        if late:
            threading.Event().wait(600)
        return False

    counts: Counter[str] = Counter()
    lock = threading.Lock()
    with web_server(lab.repo, hang) as server:
        command = subprocess.Popen(
            [ROOTMAN, "upgrade", "--insecure", server.url],
            env={"ROOTMAN_ROOTFS": str(lab.store), "PATH": os.environ["PATH"]},
        )
        while len(objects_of(server.requests)) < min(at + 8, 123) + 1 or not settled(lab, at):
            assert command.poll() is None
        command.send_signal(signal.SIGKILL)
        command.wait()
        kept = {name for name in os.listdir(lab.control / "objects") if ".part" not in name}
        assert len([name for name in kept if len(name) == 64]) == at
    with web_server(lab.repo) as server:
        Machine(lab.home).run("upgrade", "--insecure", server.url)
        again = [os.path.basename(path) for path in objects_of(server.requests)]
        names = {name if name.endswith(".zst") else f"{name}.zst" for name in kept}
        assert names.isdisjoint(again)
        assert len(again) == len(set(again)) == 124 - len(kept)
    check_upgraded(lab)


@pytest.mark.parametrize("op", ["link", "move", "exchange"])
def test_a_kill_behind_the_fetch(lab: Lab, op: str) -> None:
    """HT-9: however far the tree came, nothing is fetched again, and S5: no inode is another's."""

    def upgrade() -> None:
        lab.upgrade_from(server.source(), 2, interposed(lab.make_fs(), kill))

    def done(call: Call) -> bool:
        return call.op == op and ("usr/share" in call.paths[1] or op != "link")

    kill = KillBefore(done, 100 if op == "link" else 1 if op == "move" else 0)
    with web_server(lab.repo) as server:
        assert Forked(upgrade).result() is None
        asked = len(objects_of(server.requests))
        lab.upgrade_from(server.source(), 2)
        assert len(objects_of(server.requests)) == asked == 124
    lab.prune()  # what was finished by the recovery left its downloads
    check_upgraded(lab)


def test_an_object_that_a_tree_has(lab: Lab) -> None:
    """ST-12, S5: it is copied for another tree, not given to it."""
    lab.publish(3, {**TWO, "usr/share/moved": file("file 5" * 6, 0o600)})
    with web_server(lab.repo) as server:
        fs = interposed(lab.make_fs(), KillBefore(lambda call: call.op == "exchange"))
        assert Forked(lambda: lab.upgrade_from(server.source(), 2, fs)).result() is None
        lab.look()
        before = snapshot(lab.tree(2))
        asked = len(objects_of(server.requests))
        lab.upgrade_from(server.source(), 3)
        assert len(objects_of(server.requests)) == asked + 1  # the manifest
    assert differences(snapshot(lab.tree(2)), before) == []
    assert lab.verify(2) == lab.verify(3) == []


class Lingering:
    """An origin that fails once, whose other answers come when nobody wants them any more."""

    is_near = False

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._first = threading.Lock()

    def obtain_object(
        self, digest: str, use: Callable[[BinaryIO], None], at: Callable[[], int] = lambda: 0
    ) -> None:
        del use, at
        if self._first.acquire(blocking=False):
            raise InvalidInput(f"object {digest}: damaged")
        self._closed.wait()
        time.sleep(0.3)
        raise Unreachable("given up")

    def close(self) -> None:
        self._closed.set()


def test_no_thread_stays_after_a_failure(tmp_on_ext4: Path) -> None:
    """HT-8: it is waited for the last one, also when the fetch fails."""
    before = threading.active_count()
    fd = os.open(tmp_on_ext4, os.O_RDONLY)
    wanted = [
        Entry(b"file", "file", 0o644, 0, 0, 0, size=1, sha256=f"{number:064x}")
        for number in range(9)
    ]
    with pytest.raises(InvalidInput, match="damaged"):
        fetch(RealFs(), Objects(RealFs(), fd, Lingering()), wanted, lambda _: None)
    os.close(fd)

    assert threading.active_count() == before


def settled(lab: Lab, at: int) -> bool:
    """Return whether ``at`` objects have their names."""
    return len([name for name in os.listdir(lab.control / "objects") if len(name) == 64]) == at


def test_a_torn_download_is_fetched_again(lab: Lab) -> None:
    """ST-12: a power cut may tear what has its name already; the manifest, too."""
    with web_server(lab.repo) as server:
        lab.upgrade_from(server.source(), 2, options=Options(download_only=True))
        torn = [left for left in (lab.control / "objects").iterdir() if left.suffix != ".json"][:4]
        torn += (lab.control / "objects").glob("*.zst")
        for left in torn:
            left.write_bytes(left.read_bytes()[:-3] + b"xyz")
        asked = len(objects_of(server.requests))
        lab.upgrade_from(server.source(), 2)
        again = {os.path.basename(path) for path in objects_of(server.requests)[asked:]}
        assert again == {f"{left.name.removesuffix('.zst')}.zst" for left in torn}
    check_upgraded(lab)


# --- the command ------------------------------------------------------------------------


def test_download_now_and_install_later(lab: Lab) -> None:
    """HT-9: the second command needs no server."""
    machine = Machine(lab.home)
    assert "no release was downloaded" in machine.refused("upgrade", code=8)
    with web_server(lab.repo) as server:
        done = machine.run("upgrade", server.url, "--insecure", "--download-only")
        assert done.lines[0].startswith("olpc.2 downloaded: ")
        assert lab.link("current") == "olpc.1"
        assert not lab.tree(2).exists()
        requests = len(server.requests)
        machine.run("upgrade", server.url, "--insecure", "--download-only")
        assert len(objects_of(server.requests[requests:])) == 0
    lab.repo.rename(lab.home / "gone")

    assert machine.document("upgrade")["fetched"] == 0

    check_upgraded(lab)
    assert "no release was downloaded" in machine.refused("upgrade", code=8)


def test_a_download_from_a_folder(lab: Lab) -> None:
    machine = Machine(lab.home)
    machine.run("upgrade", lab.repo, "--download-only")
    lab.repo.rename(lab.home / "gone")
    machine.run("upgrade")
    check_upgraded(lab)
    (lab.home / "gone").rename(lab.repo)
    done = machine.run("upgrade", lab.repo, "--download-only")
    assert done.lines == ["olpc.2 is here already: nothing to download"]


def test_nothing_comes_without_trust(lab: Lab) -> None:
    """HT-10: not one request is made."""
    machine = Machine(lab.home)
    with web_server(lab.repo) as server:
        for command in ("upgrade", "check-update"):
            told = machine.refused(command, server.url, code=4)
            assert f"{server.url}: there is no trust" in told
            assert "rootman trust root.json" in told
        assert server.requests == []
        with pytest.raises(Refused):
            Repository.open(server.url)


def test_repair_needs_no_trust(lab: Lab) -> None:
    """HT-10: what is wrong is refused by its hash."""
    machine = Machine(lab.home)
    tool = lab.tree(1) / "bin/tool"
    tool.write_bytes(b"spoilt")
    with web_server(lab.repo, spoiling("/objects/", wrong_content)) as server:
        machine.refused("repair", "--from", server.url, code=3)
    with web_server(lab.repo) as server:
        machine.run("repair", "--from", server.url)
    assert tool.read_bytes() == b"tool"


def test_is_there_an_update(lab: Lab) -> None:
    """EX-1: the exit code says."""
    machine = Machine(lab.home)
    with web_server(lab.repo) as server:
        found = machine.document("check-update", server.url, "--insecure", code=12)
        assert (found["version"], found["current"], found["newer"]) == (2, 1, True)
        assert objects_of(server.requests) == []
        release = f"{server.url}/releases/1.json"
        assert machine.document("check-update", release, "--insecure")["newer"] is False
        told = machine.refused("check-update", f"{server.url}/x", "--insecure", code=3)
        assert "neither a repository nor a release" in told
    env = {"ROOTMAN_REPO": str(lab.repo)}
    assert "olpc.2" in machine.attempt("check-update", env=env).out
    machine.run("upgrade", lab.repo)
    done = machine.run("check-update", env=env)
    assert done.lines == ["olpc.2 is current, and there is nothing newer"]


def test_mirrors_of_the_command(lab: Lab) -> None:
    """HT-7."""
    machine = Machine(lab.home)
    with web_server(lab.repo, spoiling("/objects/", garbage)) as bad, web_server(lab.repo) as good:
        machine.run("upgrade", bad.url, "--insecure", "--mirror", good.url)
    check_upgraded(lab)
    told = machine.refused("upgrade", lab.repo, "--mirror", "http://127.0.0.1", code=3)
    assert "only a repository on a web server has mirrors" in told
    machine.refused("upgrade", "--mirror", "http://127.0.0.1", code=2)


def test_serve_what_was_published(lab: Lab) -> None:
    """The server that comes with rootman, as it is told to be used."""
    machine = Machine(lab.home)
    server = subprocess.Popen(
        [ROOTMAN, "repo", "serve", lab.repo, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        said = [server.stdout.readline(), server.stdout.readline()]
        match = re.fullmatch(r"serving .* at (http://127\.0\.0\.1:[0-9]+), until Ctrl-C\n", said[0])
        assert match is not None
        assert said[1].endswith(f"rootman upgrade --insecure {match[1]}\n")
        machine.run("upgrade", "--insecure", match[1])
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.communicate()
    check_upgraded(lab)
    assert "no such file" in machine.refused("repo", "serve", lab.home / "none", code=8)
    assert "not a release in it" in machine.refused(
        "repo", "serve", lab.repo / "releases/1.json", code=3
    )


# --- bounds -------------------------------------------------------------------------------


def endless(path: str, data: bytes) -> Callable[[Scripted, int], bool]:
    """Return what sends ``data`` again and again for ``path``, up to some gigabytes."""

    def fault(handler: Scripted, _count: int) -> bool:
        if not handler.path.startswith(path):
            return False
        handler.close_connection = True
        handler.say(200)
        for _ in range((4 << 30) // len(data)):
            handler.send(data)
        return True

    return fault


# A process has used what the one had that it was forked from; this one has little.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("data", [b"x" * 65536, zstandard.compress(bytes(1 << 22)) * 100])
@pytest.mark.parametrize(
    "path",
    ["/repository.json", "/releases/index.json", "/releases/2.json", "/manifests/", "/objects/"],
)
def test_endless_data_fills_no_memory(lab: Lab, path: str, data: bytes) -> None:
    """HT-6: whatever it is that does not end, the command ends in memory of its own size."""
    with web_server(lab.repo, endless(path, data)) as server:
        command = [ROOTMAN, "--rootfs", lab.store, "upgrade", "--insecure", server.url]
        done = subprocess.run(
            [sys.executable, "-IS", "-c", _MEASURE, *map(str, command)],
            check=True,
            capture_output=True,
        )
    code, used = map(int, done.stdout.split()[-2:])
    assert code == 3
    assert used < 160 * 1024  # KiB; without a bound it would be gigabytes
    assert lab.link("current") == "olpc.1"


# --- TLS ----------------------------------------------------------------------------------


def certificate(home: Path, *, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, str]:
    """Return a server's context and the file of the certificate that it shows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rootman test")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = home / f"{name}.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, str(pem)


def test_certificates_are_verified(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """HT-2."""
    good, known = certificate(lab.home)
    other, _ = certificate(lab.home, name="127.0.0.2")
    with web_server(lab.repo, tls=good) as server:
        with pytest.raises(Unreachable, match=r"certificate: self.signed"):
            lab.upgrade_from(server.source(), 2)
        monkeypatch.setenv("SSL_CERT_FILE", known)
        lab.upgrade_from(server.source(), 2)
    check_upgraded(lab)
    monkeypatch.setenv("SSL_CERT_FILE", str(lab.home / "127.0.0.2.pem"))
    with (
        web_server(lab.repo, tls=other) as server,
        pytest.raises(Unreachable, match="certificate: it is another server's"),
    ):
        server.source().read("repository.json", 1000)


def test_tls_goes_through_a_proxy(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """HT-1, HT-2: in a tunnel, at whose other end is who has the certificate."""
    context, known = certificate(lab.home)
    with web_server(lab.repo, tls=context) as server, web_server(lab.repo) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(Unreachable, match=r"certificate: self.signed"):
            lab.upgrade_from(server.source(), 2)
        monkeypatch.setenv("SSL_CERT_FILE", known)

        lab.upgrade_from(server.source(), 2)

        assert set(proxy.requests) == {server.url.removeprefix("https://")}
        assert "/repository.json" in server.requests


def test_no_redirect_leads_out_of_protection(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """HT-2: not even to the right file."""
    context, known = certificate(lab.home)
    monkeypatch.setenv("SSL_CERT_FILE", known)
    with web_server(lab.repo) as plain:

        def fault(handler: Scripted, _count: int) -> bool:
            handler.say(301, Location=f"{plain.url}{handler.path}", Content_Length=0)
            return True

        with (
            web_server(lab.repo, fault, context) as server,
            pytest.raises(Refused, match="without protection"),
        ):
            lab.upgrade_from(server.source(), 2)
        assert plain.requests == []


def test_a_url_is_located(lab: Lab) -> None:
    with web_server(lab.repo) as server:
        with Repository.open(f"{server.url}/releases/1.json", insecure=True) as repository:
            assert (repository.name, repository.chosen_release().version) == ("olpc", 1)
            assert repository.versions() == [1, 2]
            with pytest.raises(NotFound, match="no release 3"):
                repository.read_release(3)
        source, version = locate(server.url, [server.url])
        assert version is None
        assert len(source.copies) == 2
        source.close()
    with pytest.raises(RootmanError):
        Repository.open("http://", insecure=True)
