"""Conformance cases: what processes do with each other through files."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
import struct
from functools import partial
from typing import TYPE_CHECKING

from tests.cow.seeing import OTHER, PAST, USER, as_user, case, meanwhile, outcome

if TYPE_CHECKING:
    from tests.cow.seeing import See

_FLOCK = "hhqqi4x"


def _flock(path: str, how: int) -> str:
    with open(path, "rb") as file:
        return str(outcome(fcntl.flock, file, how | fcntl.LOCK_NB))


def _lock(path: str, kind: int, start: int, size: int, command: int) -> object:
    with open(path, "r+b") as file:
        lock = struct.pack(_FLOCK, kind, os.SEEK_SET, start, size, 0)
        found = outcome(fcntl.fcntl, file, command, lock)
        return struct.unpack(_FLOCK, found)[:4] if isinstance(found, bytes) else found


@case
def flock(see: See) -> None:
    with open("file", "rb") as holder:
        for held in (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN):
            fcntl.flock(holder, held)
            for wanted in (fcntl.LOCK_SH, fcntl.LOCK_EX):
                see(f"{held} {wanted} here", _flock, "file", wanted)
                found = meanwhile(partial(_flock, "file", wanted)).surely()
                see.value(f"{held} {wanted} elsewhere", found)
        fcntl.flock(holder, fcntl.LOCK_EX)
        os.rename("file", "moved")
        os.chmod("moved", 0o600)
        see("after a break", _flock, "moved", fcntl.LOCK_SH)
    see("closed", _flock, "moved", fcntl.LOCK_EX)
    with open("dir/pair", "rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        see("another name", _flock, "pair", fcntl.LOCK_EX)


@case
def record_locks(see: See) -> None:
    for kind, command, query in (
        ("posix", fcntl.F_SETLK, fcntl.F_GETLK),
        ("ofd", fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK),
    ):
        with open("file", "r+b") as holder:
            for held in (fcntl.F_RDLCK, fcntl.F_WRLCK):
                lock = struct.pack(_FLOCK, held, os.SEEK_SET, 10, 10, 0)
                fcntl.fcntl(holder, command, lock)
                holder.write(b"x")
                holder.flush()
                for wanted in (fcntl.F_RDLCK, fcntl.F_WRLCK):
                    for start in (0, 15, 20):
                        label = f"{kind} {held} {wanted} {start}"
                        for asked, which in (("set", command), ("get", query)):
                            found = meanwhile(
                                partial(_lock, "file", wanted, start, 10, which)
                            ).surely()
                            see.value(f"{label} {asked}", found)
        freed = meanwhile(partial(_lock, "file", fcntl.F_WRLCK, 0, 0, command)).surely()
        see.value(f"{kind} closed", freed)


@case
def waiting_for_a_lock(see: See) -> None:
    with open("mine", "r+b") as holder:
        fcntl.lockf(holder, fcntl.LOCK_EX)
        ready, told = os.pipe()

        def wait() -> bytes:
            with open("mine", "r+b") as file:
                os.write(told, b"!")
                fcntl.lockf(file, fcntl.LOCK_EX)
                return os.pread(file.fileno(), 7, 0)

        waiting = meanwhile(wait)
        os.read(ready, 1)
        os.pwrite(holder.fileno(), b"written", 0)
        fcntl.lockf(holder, fcntl.LOCK_UN)
        see.value("seen", waiting.surely())


@case
def fifos(see: See) -> None:
    for path in ("fifo", "new"):
        if path == "new":
            os.mkfifo(path, 0o666)
        os.chmod(path, 0o666)

        def say(path: str = path) -> int:
            with open(path, "wb", buffering=0) as file:
                return int(file.write(b"through a fifo"))

        waiting = meanwhile(say)
        with open(path, "rb") as file:
            see.value(f"{path} heard", file.read())
        see.value(f"{path} said", waiting.surely())
        see(f"{path} nobody", os.open, path, os.O_WRONLY | os.O_NONBLOCK)
        see.value(f"{path} size", os.stat(path).st_size)
        see.value(f"{path} dated", os.stat(path).st_mtime_ns > PAST)


@case
def sockets(see: See) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        server.listen()
        see.value("kind", oct(os.stat("sock").st_mode))

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect("sock")
                client.sendall(b"hello")
                return client.recv(99)

        talking = meanwhile(talk)
        peer, _ = server.accept()
        with peer:
            see.value("heard", peer.recv(99))
            peer.sendall(b"welcome")
        see.value("answer", talking.surely())
        see.by(OTHER, "not allowed", _connect, "sock")
        os.chmod("sock", 0o777)
        os.rename("sock", "moved")
        see.by(OTHER, "allowed", _connect, "moved")
        see("old name", _connect, "sock")
        see("taken", _bind, "moved")
    see("nobody", _connect, "moved")
    see("not a socket", _connect, "file")
    see("open", lambda: os.open("moved", os.O_RDONLY))
    see.by(USER, "where one may not write", _bind, "dir/new")


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def _bind(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


@case
def devices(see: See) -> None:
    os.mknod("zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.chmod("zero", 0o666)
    for path in ("null", "zero"):
        for who in (0, OTHER):
            see.by(who, f"{path} {who}", _use, path)
    os.chmod("null", 0o600)
    see.by(OTHER, "not allowed", _use, "null")
    os.mknod("none", stat.S_IFCHR | 0o666, os.makedev(250, 250))
    see("no such device", _use, "none")
    os.rename("zero", "null")
    see.value("replaced", os.stat("null").st_rdev)


def _use(path: str) -> tuple[bytes, int]:
    fd = os.open(path, os.O_RDWR)
    try:
        return os.read(fd, 4), os.write(fd, b"something")
    finally:
        os.close(fd)


@case
def files_are_always_ready(see: See) -> None:
    with open("file", "r+b") as file:
        found = select.select([file], [file], [], 5)
        see.value("select", [len(one) for one in found])
        see("poll", lambda: sorted(_polled(file.fileno())))
        see("epoll", lambda: select.epoll().register(file.fileno()))


def _polled(fd: int) -> list[int]:
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLOUT)
    return [events for _, events in poll.poll(0)]


@case
def two_writers(see: See) -> None:
    """What one process writes another reads at once, whoever came first to a sealed file."""
    reader = os.open("file", os.O_RDONLY)
    see.value("before", os.pread(reader, 99, 0))

    def write(at: int) -> None:
        with open("file", "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"<%d>" % at, at * 5)

    writers = [meanwhile(partial(write, at)) for at in range(4)]
    for one in writers:
        one.surely()
    see.value("after", os.pread(reader, 99, 0))
    see.value("by a user", as_user(USER, lambda: os.pread(os.open("file", os.O_RDONLY), 99, 0)))


@case
def descriptors_that_are_handed_on(see: See) -> None:
    one, other = socket.socketpair()
    fd = os.open("file", os.O_RDWR)
    os.unlink("file")

    def receive() -> int:
        _, fds, _, _ = socket.recv_fds(other, 1, 1)
        return os.pwrite(fds[0], b"handed", 0)

    receiving = meanwhile(receive)
    socket.send_fds(one, [b"!"], [fd])
    see.value("written", receiving.surely())
    see.value("read", os.pread(fd, 99, 0))
