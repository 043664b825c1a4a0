"""Reading files of a server that does what servers do on bad days."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

import pytest

from rootman.errors import InvalidInput, Refused, Unreachable
from rootman.repo import layout
from rootman.repo.address import parse_address, redirected
from rootman.repo.http import HttpSource
from rootman.repo.mirrors import Mirrors, obtain
from rootman.repo.paced import Pace
from rootman.repo.source import Missing
from rootman.repo.transport import Patience, Transport
from tests.net.servers import IMPATIENT, Scripted, web_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.net.servers import Fault

FILE = "objects/ab/file.zst"
CONTENT = os.urandom(300_000)
LIMIT = 1 << 20


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Return a folder with what these tests read; a source does not mind what it is."""
    path = tmp_path / "repo"
    (path / "objects/ab").mkdir(parents=True)
    (path / "releases").mkdir()
    (path / "tmp").mkdir()
    (path / FILE).write_bytes(CONTENT)
    (path / "repository.json").write_text('{"format": 1, "name": "olpc"}')
    (path / "releases/index.json").write_text('{"format": 1, "versions": [1, 7]}')
    (path / "lock").touch()
    return path


def read(source: HttpSource | Mirrors, path: str = FILE) -> bytes:
    with source.open(path) as file:
        return file.read()


def failing(
    repo: Path, fault: Fault, limit: int = LIMIT, patience: Patience = IMPATIENT
) -> tuple[str, int]:
    """Return how reading the file fails with this fault, and after how many requests."""
    with web_server(repo, fault) as server:
        source = server.source(patience)
        with pytest.raises((Unreachable, InvalidInput)) as caught:
            source.read(FILE, limit)
        source.close()
        assert f"{server.url}/{FILE}" in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value), len(server.requests)


def test_files_are_read_over_one_connection(repo: Path) -> None:
    """HT-1, RL-13."""
    with web_server(repo) as server:
        source = server.source()
        for _ in range(5):
            assert source.read(FILE, LIMIT) == CONTENT
        assert source.versions() == [1, 7]
        assert source.open(FILE, 1000).read() == CONTENT[1000:]
        assert source.open(FILE, len(CONTENT)).read() == b""
        source.close()
        assert server.connections <= 2  # a file that was left open keeps one
        assert server.ranges[-2:] == ["bytes=1000-", f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize(
    "path", ["objects/ab/none", "lock", "tmp", "tmp/x", "", "objects", "../repo/lock", "%2e%2e/x"]
)
def test_what_is_missing_is_asked_for_once(repo: Path, path: str) -> None:
    """HT-4; the server gives nothing but the repository."""
    with web_server(repo) as server:
        source = server.source()
        with pytest.raises(Missing, match="is missing"):
            source.read(path, LIMIT)
        assert len(server.requests) == 1
        source.close()


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_a_failure_that_passes(repo: Path, status: int) -> None:
    """HT-4."""

    def fault(handler: Scripted, count: int) -> bool:
        if count < 2:
            handler.say(status, Content_Length=0)
        return count < 2

    with web_server(repo, fault) as server:
        source = server.source()
        assert source.read(FILE, LIMIT) == CONTENT
        assert len(server.requests) == 3
        source.close()


def test_a_failure_that_does_not_pass(repo: Path) -> None:
    """HT-4: it is given up, and the way out is told."""

    def fault(handler: Scripted, _count: int) -> bool:
        handler.say(500, Content_Length=0)
        return True

    message, requests = failing(repo, fault)

    assert "500 Internal Server Error (tried 3 times)" in message
    assert requests == 3


@pytest.mark.parametrize("status", [403, 204, 302, 999])
def test_an_answer_that_is_none_is_not_asked_for_again(repo: Path, status: int) -> None:
    """HT-4; a redirect that leads nowhere is such an answer."""

    def fault(handler: Scripted, _count: int) -> bool:
        handler.say(status, Content_Length=0)
        return True

    message, requests = failing(repo, fault)

    assert f"the server says {status}" in message or status == 999
    assert requests == (3 if status == 999 else 1)


class Clock:
    """An event that is waited for without waiting."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return False


def test_pauses_double_and_do_what_the_server_asks() -> None:
    """HT-4: with chance, and within bounds."""
    transport = Transport(Patience(first_pause=1, longest_pause=15, longest_wish=60), 1)
    clock = transport._stopped = Clock()  # type: ignore[assignment]

    for failures in range(1, 8):
        transport.pause(failures, None)
    for wish in (0, 20, 4_000):
        transport.pause(1, wish)

    assert all(
        most / 2 <= waited <= most
        for most, waited in zip((1, 2, 4, 8, 15, 15, 15), clock.waited, strict=False)
    )
    assert clock.waited[-3] <= 1
    assert clock.waited[-2:] == [20, 60]


def test_retry_after_is_read(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HT-4."""
    wishes: list[float | None] = []
    monkeypatch.setattr(Transport, "pause", lambda _self, _count, wish: wishes.append(wish))

    def fault(handler: Scripted, count: int) -> bool:
        after = ("7", "Fri, 31 Dec 1999 23:59:59 GMT", "9" * 40, "-1")
        if count < len(after):
            handler.say(503, Content_Length=0, Retry_After=after[count])
        return count < len(after)

    with web_server(repo, fault) as server:
        source = HttpSource(parse_address(server.url), Patience(tries=9))
        assert source.read(FILE, LIMIT) == CONTENT
        source.close()
    assert wishes == [7, None, 999_999_999, None]


def drop(handler: Scripted, at: int) -> None:
    """Send the file up to its byte ``at``, of which all were promised, and break off."""
    content = handler.content()
    handler.say(200, Content_Length=len(content))
    handler.send(content[:at])
    handler.break_off()


def test_what_breaks_off_goes_on_there(repo: Path) -> None:
    """HT-5: every byte is asked for once, as often as it breaks."""
    steps = 4

    def fault(handler: Scripted, count: int) -> bool:
        if count > steps:
            return False
        content = handler.content()
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        assert start == count * 70_000
        if count:
            handler.say(
                206,
                Content_Length=len(content) - start,
                Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
            )
        else:
            handler.say(200, Content_Length=len(content), ETag='"x"')
        handler.send(content[start : start + 70_000])
        handler.break_off()
        return True

    with web_server(repo, fault) as server:
        source = server.source()
        assert source.read(FILE, LIMIT) == CONTENT
        source.close()
        assert server.ranges == ["-", *(f"bytes={n * 70_000}-" for n in (1, 2, 3, 4)), "-"][:5]


def test_a_server_that_knows_no_ranges(repo: Path) -> None:
    """HT-5: what is here is skipped."""

    def fault(handler: Scripted, count: int) -> bool:
        if count == 0:
            drop(handler, 100_000)
        else:
            del handler.headers["Range"]
            return False
        return True

    with web_server(repo, fault) as server:
        source = server.source()
        assert source.read(FILE, LIMIT) == CONTENT
        source.close()
        assert len(server.requests) == 2


def test_another_range_than_was_asked_for(repo: Path) -> None:
    """HT-5: it is not put in its place."""

    def fault(handler: Scripted, count: int) -> bool:
        if count == 0:
            drop(handler, 100_000)
        else:
            handler.say(206, Content_Length=10, Content_Range="bytes 7-16/300000")
            handler.send(b"x" * 10)
        return True

    message, requests = failing(repo, fault)

    assert "another range" in message
    assert requests == 2


def test_no_progress_is_given_up(repo: Path) -> None:
    """HT-4: a byte now and then is none."""

    def fault(handler: Scripted, count: int) -> bool:
        drop(handler, 10 + count)
        return True

    message, requests = failing(repo, fault)

    assert "broke off" in message
    assert requests == 3


def test_more_was_promised_than_comes(repo: Path) -> None:
    """HT-3, HT-6."""

    def fault(handler: Scripted, _count: int) -> bool:
        handler.say(200, Content_Length=len(CONTENT) + 1000)
        handler.send(CONTENT)
        handler.break_off()
        return True

    message, requests = failing(repo, fault)

    assert "broke off" in message
    assert requests == 3


def test_more_comes_than_was_promised(repo: Path) -> None:
    """HT-6: the rest is nobody's answer."""

    def fault(handler: Scripted, count: int) -> bool:
        lies = count == 0 and handler.path == f"/{FILE}"
        if lies:
            handler.say(200, Content_Length=1000)
            handler.send(CONTENT)
        return lies

    with web_server(repo, fault) as server:
        source = server.source()
        assert source.read(FILE, LIMIT) == CONTENT[:1000]
        assert source.read("repository.json", LIMIT).startswith(b'{"format"')
        assert source.read(FILE, LIMIT) == CONTENT
        source.close()


def test_more_comes_than_is_taken(repo: Path) -> None:
    """HT-6."""
    message, requests = failing(repo, lambda _handler, _count: False, limit=1000)

    assert "larger than 1000 bytes" in message
    assert requests == 1


def hang_at_once(handler: Scripted, _count: int) -> bool:
    del handler
    time.sleep(600)
    return True


def hang_in_the_middle(handler: Scripted, _count: int) -> bool:
    handler.say(200, Content_Length=len(CONTENT))
    handler.send(b"x" * 100)
    time.sleep(600)
    return True


def drip_headers(handler: Scripted, _count: int) -> bool:
    handler.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while True:
        handler.send(b"x")
        time.sleep(0.05)


def drip_content(handler: Scripted, _count: int) -> bool:
    handler.say(200, Content_Length=len(CONTENT))
    while True:
        handler.send(b"x")
        time.sleep(0.05)


def endless_headers(handler: Scripted, _count: int) -> bool:
    handler.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.send(b"X-Endless: " + b"x" * 60_000)


def endless_interim(handler: Scripted, _count: int) -> bool:
    while True:
        handler.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def endless_content(handler: Scripted, _count: int) -> bool:
    handler.close_connection = True
    handler.say(200)
    while True:
        handler.send(b"x" * 60_000)


def endless_chunks(handler: Scripted, _count: int) -> bool:
    handler.say(200, Transfer_Encoding="chunked")
    while True:
        handler.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def endless_trailer(handler: Scripted, _count: int) -> bool:
    handler.say(200, Transfer_Encoding="chunked")
    handler.send(b"1\r\nx\r\n0\r\n")
    while True:
        handler.send(b"X: y\r\n" * 10_000)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (hang_at_once, "nothing came for 0.5 s"),
        (hang_in_the_middle, "nothing came for 0.5 s"),
        (drip_headers, "less than 50000 bytes came in 0.7 s"),
        (drip_content, "less than 50000 bytes came in 0.7 s"),
        (endless_headers, "no end|got more than"),
        (endless_interim, "no end|got more than"),
        (endless_content, "larger than 1048576 bytes"),
        (endless_chunks, "larger than 1048576 bytes"),
        (endless_trailer, "no end"),
    ],
)
def test_nothing_is_waited_for_without_end(repo: Path, fault: Fault, message: str) -> None:
    """HT-3, HT-6: each ends, and says why."""
    patience = replace(IMPATIENT, read=0.5, tries=2, pace=Pace(50_000, 0.7))
    found, _ = failing(repo, fault, patience=patience)

    assert re.search(message, found), found


def test_nobody_listens(repo: Path) -> None:
    """HT-4."""
    with web_server(repo) as server:
        source = server.source()
    with pytest.raises(Unreachable, match=r"Connection refused \(tried 3 times\)") as caught:
        source.read(FILE, LIMIT)
    assert caught.value.hint is not None
    source.close()


def test_a_name_that_nobody_has() -> None:
    source = HttpSource(parse_address("http://nobody.invalid/repo"), IMPATIENT)
    with pytest.raises(Unreachable, match=r"nobody\.invalid/repo/repository\.json: "):
        source.read("repository.json", LIMIT)
    source.close()


def test_redirects_are_followed_and_counted(repo: Path) -> None:
    """HT-2."""

    def fault(handler: Scripted, _count: int) -> bool:
        hops = int(handler.path.partition("?")[2] or 0)
        most = 5 if handler.path.startswith("/objects") else 99
        if hops < most:
            path = handler.path.partition("?")[0]
            handler.say(302, Location=f"{path}?{hops + 1}", Content_Length=0)
        return hops < most

    with web_server(repo, fault) as server:
        source = server.source()
        assert source.read(FILE, LIMIT) == CONTENT
        with pytest.raises(Unreachable, match=r"repository\.json: redirected more than 5 times"):
            source.read("repository.json", LIMIT)
        assert len(server.requests) == 12
        source.close()


def test_no_redirect_leads_out_of_protection() -> None:
    """HT-2."""
    url = "https://a.example/repo/x"
    assert redirected(url, "/y") == "https://a.example/y"
    assert redirected("http://a.example/x", "https://b.example/x") == "https://b.example/x"
    assert redirected(url, "https://me:secret@b.example/x") == "https://b.example/x"
    with pytest.raises(Refused, match="without protection"):
        redirected(url, "http://a.example/repo/x")
    for target in ("ftp://a.example/", "file:///etc/passwd", "https://a b/", "//:1:1"):
        with pytest.raises(InvalidInput):
            redirected(url, target)


def test_secrets_go_to_their_server_alone(repo: Path) -> None:
    """HT-1."""

    def tell(handler: Scripted, _count: int) -> bool:
        seen = handler.headers.get("Authorization", "none").encode()
        handler.say(200, Content_Length=len(seen))
        handler.send(seen)
        return True

    with web_server(repo, tell) as other:

        def lead(handler: Scripted, _count: int) -> bool:
            if handler.path == "/away":
                handler.say(302, Location=f"{other.url}/x", Content_Length=0)
                return True
            return tell(handler, 0)

        with web_server(repo, lead) as server:
            location = server.url.replace("http://", "http://me:s%65cret@")
            source = HttpSource(parse_address(location), IMPATIENT)
            assert source.read("here", LIMIT) == b"Basic bWU6c2VjcmV0"
            assert source.read("away", LIMIT) == b"none"
            source.close()
            assert source.location == server.url

    source = HttpSource(parse_address("http://me:secret@127.0.0.1:9/"), IMPATIENT)
    with pytest.raises(Unreachable) as caught:
        source.read("x", LIMIT)
    source.close()
    assert "secret" not in str(caught.value)


def test_the_proxy_of_the_environment(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HT-1."""

    def fault(handler: Scripted, _count: int) -> bool:
        seen = f"{handler.path} {handler.headers.get('Proxy-Authorization')}".encode()
        handler.say(200, Content_Length=len(seen))
        handler.send(seen)
        return True

    with web_server(repo, fault) as proxy, web_server(repo) as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:pass@"))
        source = HttpSource(parse_address("http://far.invalid/repo"), IMPATIENT)
        assert source.read("x", LIMIT) == b"http://far.invalid/repo/x Basic bWU6cGFzcw=="
        source.close()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        source = server.source()
        assert source.read(FILE, LIMIT) == CONTENT
        source.close()
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        source = server.source()
        with pytest.raises(InvalidInput, match="http_proxy: not a proxy"):
            source.read(FILE, LIMIT)
        source.close()


def good(file: BinaryIO) -> bytes:
    data = file.read()
    if data != CONTENT:
        raise InvalidInput("damaged")
    return data


def spoil(handler: Scripted, _count: int) -> bool:
    handler.say(200, Content_Length=3)
    handler.send(b"bad")
    return True


def absent(handler: Scripted, _count: int) -> bool:
    handler.say(404, Content_Length=0)
    return True


@pytest.mark.parametrize("fault", [spoil, absent])
def test_a_mirror_has_what_the_first_has_not(repo: Path, fault: Fault) -> None:
    """HT-7."""
    with web_server(repo, fault) as first, web_server(repo) as second:
        mirrors = Mirrors(first.source(), [second.source()])
        assert obtain(mirrors, FILE, good) == CONTENT
        assert mirrors.location == first.url
        mirrors.close()
        assert (len(first.requests), len(second.requests)) == (1, 1)


def test_a_server_that_is_gone_is_asked_last(repo: Path) -> None:
    """HT-7."""
    with web_server(repo) as first, web_server(repo) as second:
        gone = first.source()
        mirrors = Mirrors(gone, [second.source()])
        assert read(mirrors) == CONTENT
        assert len(first.requests) == 1
    with web_server(repo) as third:
        mirrors = Mirrors(gone, [third.source()])
        assert obtain(mirrors, FILE, good) == CONTENT
        assert mirrors.copies[0] is not gone
        assert mirrors.read("repository.json", LIMIT)
        with pytest.raises(Missing, match=third.url):
            mirrors.read("none", LIMIT)
        mirrors.close()


def test_closing_ends_what_others_wait_for(repo: Path) -> None:
    """A thread that waits for an answer does not hold up a command that failed."""
    with web_server(repo, hang_in_the_middle) as server:
        source = server.source(Patience())
        file = source.open(FILE)
        assert file.read(10)
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                while file.read(1000):
                    pass
            except Unreachable as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        source.close()
        thread.join(20)
        assert not thread.is_alive()
        assert "given up" in str(errors[0])


@pytest.mark.parametrize(
    ("location", "base", "version"),
    [
        ("http://h/repo", "http://h/repo", None),
        ("http://h/repo/", "http://h/repo", None),
        ("http://h", "http://h", None),
        ("https://h:8443/a/releases/7.json", "https://h:8443/a", 7),
        ("http://h/releases/7.json", "http://h", 7),
        ("http://h/other/7.json", "http://h/other/7.json", None),
        ("HTTP://u:p@h/x", "http://h/x", None),
    ],
)
def test_what_a_url_names(location: str, base: str, version: int | None) -> None:
    address = parse_address(location)

    assert (address.base, address.version) == (base, version)
    assert address.url(layout.INDEX) == f"{base}/releases/index.json"


@pytest.mark.parametrize(
    "location",
    ["http://", "http://h/a b", "http://h/\n", "http://h/?x=secret", "http://h/#x", "http://h:x/",
     "http://[::1", "http://h:99999/", "http://ö/"],
)  # fmt: skip
def test_what_no_url_is(location: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_address(location)
    assert "secret" not in str(caught.value)
