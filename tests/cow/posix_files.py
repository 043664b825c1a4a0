"""Conformance cases: the content of files, by every call that reads or changes it."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from tests.cow.seeing import case, meanwhile
from tests.cow.syscalls import fallocate

if TYPE_CHECKING:
    from tests.cow.seeing import See

_PAGE = mmap.PAGESIZE


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@case
def sizes(see: See) -> None:
    fd = os.open("file", os.O_RDWR)
    for size in (3, 0, 5, 5, 4096, 4095, 4097, 10_000_000, 1):
        os.ftruncate(fd, size)
        see.value(f"size {len(see.seen)}", (os.fstat(fd).st_size, os.pread(fd, 20, 0)))
    os.pwrite(fd, b"end", 5000)
    see.value("gap", os.pread(fd, 9000, 0))
    os.truncate("file", 2)
    os.truncate("file", 20)
    see.value("zeros", os.pread(fd, 99, 0))
    for size in (1 << 44, 1 << 62):
        see(f"large {size}", os.ftruncate, fd, size)
    see("negative", os.truncate, "file", -1)
    see("beyond", os.pread, fd, 5, 1 << 50)


@case
def vectors(see: See) -> None:
    fd = os.open("file", os.O_RDWR)
    see.value("written", os.pwritev(fd, [b"one", b"", b"three" * 1000], 2))
    first, second = bytearray(5), bytearray(9)
    see.value("read", os.preadv(fd, [first, second], 1))
    see.value("are", bytes(first + second))
    see.value("nothing", os.write(fd, b""))
    see.value("none", os.read(fd, 0))


@case
def large_content(see: See) -> None:
    data = bytes(range(256)) * 12_000
    with open("file", "wb", buffering=0) as file:
        see.value("written", file.write(data))
    see.value("equal", _read("file") == data)
    fd = os.open("file", os.O_RDWR)
    os.pwrite(fd, b"middle", 1_000_001)
    see.value("middle", os.pread(fd, 10, 999_999))
    os.lseek(fd, -5, os.SEEK_END)
    see.value("end", os.read(fd, 100))


@case
def sparse_files(see: See) -> None:
    """Holes read as zeros and take no blocks, before a copy and after it."""
    fd = os.open("mine", os.O_RDWR)
    os.pwrite(fd, b"far", 50_000_000)
    os.fsync(fd)
    status = os.fstat(fd)
    see.value("sparse", (status.st_size, status.st_blocks < 1000))
    see.value("hole", os.pread(fd, 5, 30_000_000))
    for label, at, whence in (
        ("data", 0, os.SEEK_DATA), ("first hole", 0, os.SEEK_HOLE),
        ("next data", 4096, os.SEEK_DATA), ("last hole", 50_000_000, os.SEEK_HOLE),
        ("beyond", 60_000_000, os.SEEK_DATA), ("beyond hole", 60_000_000, os.SEEK_HOLE),
    ):  # fmt: skip
        see(label, os.lseek, fd, at, whence)


@case
def preallocation(see: See) -> None:
    """posix_fallocate(3) writes where fallocate(2) is refused."""
    fd = os.open("file", os.O_RDWR)
    see("whole", os.posix_fallocate, fd, 0, 10_000)
    see.value("size", (os.fstat(fd).st_size, os.pread(fd, 20, 0)))
    for mode in (0, 1, 3, 8, 0x10, 0x20):
        see(f"mode {mode}", fallocate, fd, mode, 4096, 4096)


@case
def shared_mappings(see: See) -> None:
    fd = os.open("file", os.O_RDWR)
    os.ftruncate(fd, 3 * _PAGE)
    with mmap.mmap(fd, 3 * _PAGE) as memory, mmap.mmap(fd, _PAGE, prot=mmap.PROT_READ) as other:
        memory[5:8] = b"map"
        see.value("read", os.pread(fd, 10, 0))
        os.pwrite(fd, b"WRITE", _PAGE - 2)
        see.value("mapped", memory[_PAGE - 4 : _PAGE + 6])
        see.value("other", other[:10])
        memory[2 * _PAGE : 2 * _PAGE + 4] = b"last"
        memory.flush()
        see.value("another process", meanwhile(lambda: _read("file")[2 * _PAGE :][:6]).surely())

        def change() -> None:
            with open("file", "r+b") as file, mmap.mmap(file.fileno(), 0) as its:
                its[0:4] = b"THEY"

        meanwhile(change).surely()
        see.value("theirs", memory[:6])
    see.value("at last", _read("file"))


@case
def private_mappings(see: See) -> None:
    fd = os.open("file", os.O_RDWR)
    with mmap.mmap(fd, 0, access=mmap.ACCESS_COPY) as memory:
        memory[0:4] = b"MINE"
        see.value("file", os.pread(fd, 9, 0))
        see.value("memory", memory[:])
    with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as memory:
        os.pwrite(fd, b"seen", 0)
        see.value("unchanged page", memory[:])


@case
def a_mapping_from_before(see: See) -> None:
    """A mapping to read, made before the first change, shows the change."""
    with open("file", "rb") as reader:
        memory = mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ)
        see.value("before", memory[:])
        with open("file", "r+b") as writer:
            writer.write(b"CHANGED")
        see.value("after", memory[:])
        see.value("reader", reader.read())
        memory.close()


@case
def mappings_outlive_names_and_descriptors(see: See) -> None:
    fd = os.open("file", os.O_RDWR)
    memory = mmap.mmap(fd, 0)
    os.close(fd)
    os.link("file", "kept")
    os.unlink("file")
    memory[0:3] = b"yes"
    memory.flush()
    see.value("kept", _read("kept"))
    os.unlink("kept")
    memory[0:3] = b"gon"
    memory.flush()
    see.value("memory", memory[:])
    memory.close()


@case
def mapping_rights(see: See) -> None:
    reader, writer = os.open("file", os.O_RDONLY), os.open("file", os.O_WRONLY)
    see("write to read", lambda: mmap.mmap(reader, 5, access=mmap.ACCESS_WRITE).close())
    see("write only", lambda: mmap.mmap(writer, 5, access=mmap.ACCESS_WRITE).close())
    see("copy of read", lambda: mmap.mmap(reader, 5, access=mmap.ACCESS_COPY).close())


@case
def copying_in_the_kernel(see: See) -> None:
    source = os.open("file", os.O_RDONLY)
    target = os.open("mine", os.O_RDWR)
    see("copy_file_range", os.copy_file_range, source, target, 6, 0, 3)
    see.value("copied", os.pread(target, 99, 0))
    see("in one file", lambda: os.copy_file_range(target, target, 3, 0, 100))
    see("overlapping", lambda: os.copy_file_range(target, target, 10, 0, 5))
    see(
        "to append",
        lambda: os.copy_file_range(source, os.open("mine", os.O_WRONLY | os.O_APPEND), 3, 0),
    )
    see("not readable", lambda: os.copy_file_range(os.open("mine", os.O_WRONLY), target, 3, 0))
    see("sendfile", os.sendfile, target, source, 0, 99)
    see.value("sent", os.pread(target, 200, 0))
    reading, writing = os.pipe()
    see("splice out", lambda: os.splice(source, writing, 8, offset_src=2))
    see("splice in", lambda: os.splice(reading, target, 8, offset_dst=50))
    see.value("spliced", os.pread(target, 200, 0))
    see("directory", lambda: os.sendfile(target, os.open("dir", os.O_RDONLY), 0, 9))


@case
def copies_to_a_sealed_file(see: See) -> None:
    for number, name in enumerate(("file", "pair", "tool")):
        os.lseek(fd := os.open(name, os.O_RDWR), 3, os.SEEK_SET)
        reading, writing = os.pipe()
        os.write(writing, b"by pipe")
        calls = (
            lambda fd=fd: os.copy_file_range(os.open("mine", os.O_RDONLY), fd, 4, 0, 1),
            lambda fd=fd: os.sendfile(fd, os.open("mine", os.O_RDONLY), 0, 4),
            lambda fd=fd, pipe=reading: os.splice(pipe, fd, 7),
        )
        see(f"{name} call", calls[number])
        see.value(name, _read(name))
    see.value("group", _read("dir/pair"))


@case
def limits_of_a_process(see: See) -> None:
    """RLIMIT_FSIZE stops a write where it should."""

    def work() -> list[object]:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
        from tests.cow.seeing import outcome

        fd = os.open("file", os.O_RDWR)
        found = [outcome(os.pwrite, fd, b"0123456789", at) for at in (5, 15, 20)]
        return [*found, outcome(os.ftruncate, fd, 21), os.fstat(fd).st_size]

    see.value("limited", meanwhile(work).surely())
