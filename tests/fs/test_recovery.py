"""What the next command makes of what an earlier one left, on a real disk (S4, TR-*).

Every call that may be the last one is tried in ``tests/fault``; here is what needs a
real freeze, several processes, or a hand that made the state. What recovery plans for
which state is in ``tests/unit/test_plan.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

import pytest

from rootman import freezing
from rootman.errors import Busy, NoSpace, RootmanError
from rootman.freezing import Freezer
from rootman.fsops import RealFs
from rootman.lock import take
from rootman.session import look
from tests.builders import Tree, differences, file, hardlink, published, snapshot, symlink
from tests.fault.faulty import Call, Forked, Hasty, KillBefore, interposed
from tests.fault.scenarios import without_exchange
from tests.filesystems import run, thaw
from tests.numbers import number
from tests.stores import Lab, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.conftest import MakeFs
    from tests.filesystems import Kind
    from tests.numbers import Number

_FIFREEZE: Final = 0xC0045877
_SOON: Final = 10.0  # seconds in which a process that was told to end has ended


def tree(number: int) -> Tree:
    return {
        "bin/sh": file("shell", 0o755),
        "bin/bash": hardlink("bin/sh"),
        "etc/conf": file(f"conf {number}"),
        "lib": symlink("usr/lib"),
        "usr/lib/libc": file("libc"),
        f"usr/share/{number}": file("new"),
    }


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a store with the versions 1 and 2 and a spare, and releases 3 and 4."""
    return make_lab(tmp_on_ext4)


def make_lab(home: Path) -> Lab:
    lab = Lab(home, make_fs=Hasty)
    lab.init()
    for version in (1, 2, 3, 4):
        lab.publish(version, tree(version))
    for version in (1, 2):
        lab.upgrade(version)
    return lab


def links(lab: Lab) -> tuple[str, str]:
    return lab.link("current"), lab.link("previous")


def is_whole(lab: Lab, *trees: Number) -> bool:
    """Say whether the store is settled and these are all its trees, as they were published."""
    state = lab.scan()
    assert state.is_settled
    assert [one.number for one in state.trees] == list(map(number, trees))
    for one in trees:
        wanted = published(snapshot(lab.source(one)))
        assert differences(published(snapshot(lab.tree(one))), wanted) == []
        assert lab.verify(one) == []
    return True


def cut_off(lab: Lab, op: str, *, skip: int = 0, version: int = 3, fs: Fs | None = None) -> None:
    """Have an upgrade killed before a call."""
    mortal = interposed(fs or Hasty(), KillBefore(lambda call: call.op == op, skip))
    assert Forked(lambda: lab.upgrade(version, mortal)).result() is None


# --- freezing ---------------------------------------------------------------------------


@pytest.fixture
def patient(make_fs: MakeFs) -> Iterator[Path]:
    """Return a filesystem that may be left frozen: whoever waits for it is helped in the end."""
    path = make_fs("ext4", size_mib=16).path
    with subprocess.Popen(("sh", "-c", f"sleep {_SOON} && fsfreeze --unfreeze {path}")) as helper:
        yield path
        thaw(path)
        helper.kill()


def freeze(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _FIFREEZE, 0)
    finally:
        os.close(fd)


def is_frozen(path: Path) -> bool:
    """Say whether a filesystem is frozen, and thaw it."""
    return thaw(path)


def freeze_thaw(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        Freezer().freeze_thaw(fd)
    finally:
        os.close(fd)


def killed_while_frozen(patch: pytest.MonkeyPatch, how: int) -> Callable[[Path], None]:
    """Return a function that freezes a filesystem in a process that dies then."""
    real = fcntl.ioctl
    victims: list[int] = []

    def ioctl(fd: int, request: int, argument: int) -> int:
        if request == freezing._FITHAW and os.getpid() in victims:
            os.kill(os.getpid(), how)
            time.sleep(_SOON)
        return real(fd, request, argument)

    patch.setattr(fcntl, "ioctl", ioctl)

    def work(path: Path) -> None:
        victims.append(os.getpid())
        freeze_thaw(path)

    def die(path: Path) -> None:
        assert Forked(lambda: work(path)).result() is None

    return die


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_who_dies_while_frozen_leaves_nothing_frozen(
    patient: Path, monkeypatch: pytest.MonkeyPatch, how: int
) -> None:
    """S3: a frozen root filesystem would take the machine with it."""
    die = killed_while_frozen(monkeypatch, how)

    die(patient)

    began = time.monotonic()
    (patient / "written").write_text("x")  # waits for whoever thaws
    assert time.monotonic() - began < _SOON / 2
    assert not is_frozen(patient)


def test_an_interrupt_while_frozen_leaves_nothing_frozen(
    patient: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3: an interrupt can come between the two calls."""
    real = fcntl.ioctl
    pending = [KeyboardInterrupt()]

    def ioctl(fd: int, request: int, argument: int) -> int:
        if request == freezing._FITHAW and pending:
            raise pending.pop()
        return real(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)

    with pytest.raises(KeyboardInterrupt):
        freeze_thaw(patient)

    assert not is_frozen(patient)


def test_the_freeze_of_others_is_not_ended(patient: Path) -> None:
    """S3: neither by an attempt to freeze, nor when the process ends that had frozen before."""

    def work() -> bool:
        fs = RealFs()
        fd = os.open(patient, os.O_RDONLY | os.O_DIRECTORY)
        fs.freeze_thaw(fd)
        freeze(patient)
        try:
            # Two syncfs would wait for the other to thaw; that it cannot is told by EBUSY.
            with contextlib.suppress(OSError):
                Freezer().freeze_thaw(fd)
        finally:
            os.close(fd)
        del fs
        return True

    assert Forked(work).surely()
    time.sleep(0.1)
    assert is_frozen(patient)


def test_the_child_that_thaws_holds_no_lock(lab: Lab) -> None:
    """ST-14: the next command can begin as soon as the first has ended."""
    fs = RealFs()
    for _ in range(5):
        lab.rollback(fs=fs)  # fs is alive, and its child with it
        lab.rollback(fs=RealFs())

    assert is_whole(lab, 1, 2)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_killed_with_every_sync_on(make_fs: MakeFs, kind: Kind) -> None:
    """S4: on every filesystem that is supported."""
    lab = make_lab(make_fs(kind).path)
    moments = ((3, "syncfs", 0, 2), (3, "exchange", 0, 3), (4, "freeze_thaw", 3, 4))
    for version, op, skip, current in moments:
        cut_off(lab, op, skip=skip, version=version, fs=RealFs())

        lab.look(RealFs())

        state = lab.scan()
        assert state.is_settled
        assert state.current == number(current)
        assert not any(lab.verify(one.number) for one in state.trees)


# --- several processes ------------------------------------------------------------------


@pytest.fixture
def wide(lab: Lab) -> Lab:
    """Return a store with version 5, enough of it for several workers, no spare, and release 6."""
    many: Tree = {f"usr/share/doc/{number}": file(str(number)) for number in range(2000)}
    for version in (5, 6):
        lab.publish(version, {**tree(version), **many})
    lab.upgrade(5)
    shutil.rmtree(lab.control / "staging/spare.5")
    return lab


def killed_at_link(lab: Lab, *, leader: bool) -> object:
    """Have an upgrade by three workers, of which the leader or another dies; return its result."""

    def work() -> str:
        first = os.getpid()

        def dies(call: Call) -> bool:
            return call.op == "link" and (os.getpid() == first) == leader

        try:
            lab.upgrade(6, interposed(Hasty(), KillBefore(dies, 100)), forks=3)
        except RootmanError as error:
            return str(error)
        return ""

    return Forked(work).result()


def test_what_is_left_of_a_killed_command_is_waited_for(tmp_path: Path) -> None:
    """ST-14: a fork has the lock for a moment after its parent died."""
    lock = tmp_path / "lock"
    told, tell = os.pipe()
    parent = os.fork()
    if not parent:
        fcntl.flock(os.open(lock, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
        if not os.fork():
            os.close(tell)
            os.read(told, 1)
        os._exit(0)
    os.waitpid(parent, 0)
    asked = []

    def owner() -> bytes:
        asked.append(parent)
        if len(asked) == 1:
            os.close(tell)
        return b"%d" % parent

    with lock.open("rb") as file:
        take(file.fileno(), fcntl.LOCK_EX, owner)

    os.close(told)
    assert asked


def test_workers_do_not_outlive_a_killed_command(wide: Lab) -> None:
    """ST-14: while a worker writes the lock is held; then it is free, and all is put right."""
    assert killed_at_link(wide, leader=True) is None

    deadline = time.monotonic() + _SOON
    while not wide.tree(6).exists():
        assert time.monotonic() < deadline
        with contextlib.suppress(Busy):
            wide.upgrade(6, forks=3)

    assert is_whole(wide, 5, 6)


def test_a_worker_that_is_killed(wide: Lab) -> None:
    """TR-3: by the kernel that ran out of memory, for example."""
    told = killed_at_link(wide, leader=False)

    assert told == "start version 6 from a clone of version 5: a worker process was killed"
    assert links(wide) == ("olpc.5", "olpc.2")
    assert is_whole(wide, 2, 5)


def test_what_another_command_does_is_not_recovered(lab: Lab) -> None:
    """TR-4: what looks interrupted is at work."""
    seen: list[str] = []

    def peep(call: Call) -> None:
        if call.op == "exchange":
            with look(str(lab.store), Hasty, Listener()) as view:
                seen.append(view.recovery)
            with pytest.raises(Busy):
                lab.rollback()

    lab.upgrade(3, interposed(Hasty(), peep))

    assert seen == ["in progress"]
    assert is_whole(lab, 2, 3)


def test_a_disk_that_cannot_be_written_is_looked_at(make_fs: MakeFs) -> None:
    """TR-4: the state is shown, and recovered when the disk can be written again."""
    path = make_fs("ext4", size_mib=64).path
    lab = make_lab(path)
    cut_off(lab, "exchange")
    run("mount", "-o", "remount,ro", str(path))
    try:
        with look(str(lab.store), Hasty, Listener()) as view:
            assert view.recovery == "not possible"
            assert (view.state.current, view.state.previous) == (number(2), number(3))
        with pytest.raises(RootmanError, match="Read-only"):
            lab.rollback()
    finally:
        run("mount", "-o", "remount,rw", str(path))

    assert lab.look().current == number(3)
    assert is_whole(lab, 1, 2, 3)


# --- states made by hand ----------------------------------------------------------------


def test_killed_again_and_again(lab: Lab) -> None:
    """TR-2: a recovery that is cut off is recovered as well."""
    cut_off(lab, "exchange")

    for skip in range(20):
        fs = interposed(Hasty(), KillBefore(lambda _: True, skip))
        if Forked(lambda fs=fs: lab.look(fs) is not None).result():  # type: ignore[misc]
            break

    assert links(lab) == ("olpc.3", "olpc.2")
    assert is_whole(lab, 1, 2, 3)
    assert skip > 3


def test_a_rollback_without_exchange_that_was_cut_off(lab: Lab) -> None:
    """S2: both links may be at the old tree, and the other can still be named."""
    killer = KillBefore(lambda call: call.op == "rename", 1)
    fs = without_exchange(interposed(Hasty(), killer))
    assert Forked(lambda: lab.rollback(fs=fs)).result() is None

    assert links(lab) == ("olpc.2", "olpc.2")
    with pytest.raises(RootmanError, match="current already"):
        lab.rollback()
    lab.rollback(1)
    assert links(lab) == ("olpc.1", "olpc.2")
    assert is_whole(lab, 1, 2)


def test_an_adoption_that_was_cut_off_is_not_switched_to(lab: Lab) -> None:
    """TR-9: nobody asked for it to be current."""
    fs = interposed(Hasty(), KillBefore(lambda call: call.op == "freeze_thaw"))
    assert Forked(lambda: lab.init(lab.source(3), 9, fs)).result() is None

    lab.look()

    assert links(lab) == ("olpc.2", "olpc.1")
    assert lab.scan().sealed(number(9)) is not None
    assert lab.scan().is_settled


def test_the_spare_of_current_is_kept(lab: Lab) -> None:
    """TR-11."""
    staging = lab.control / "staging"
    shutil.copytree(staging / "spare.2", staging / "spare.7", symlinks=True)
    (staging / "spare.1").mkdir()
    shutil.copytree(staging / "spare.2/root", staging / "spare.1/root", symlinks=True)

    lab.look()

    assert os.listdir(staging) == ["spare.2"]
    lab.upgrade(3)
    assert is_whole(lab, 2, 3)


def test_recovery_touches_nothing_else(lab: Lab) -> None:
    """TR-5: what is not rootman's, and no complete tree."""
    cut_off(lab, "exchange")
    for name in ("olpc.77", "data", ".hidden", "current.old"):
        (lab.store / name / "deep").mkdir(parents=True)
        (lab.store / name / "deep/file").write_text("mine")
    (lab.store / "link").symlink_to("olpc.1")
    mine = {name: snapshot(lab.store / name) for name in ("olpc.77", "data", ".hidden")}
    trees = {version: snapshot(lab.tree(version)) for version in (1, 2, 3)}

    assert lab.look().current == number(3)

    assert {name: snapshot(lab.store / name) for name in mine} == mine
    assert {version: snapshot(lab.tree(version)) for version in trees} == trees
    assert os.readlink(lab.store / "link") == "olpc.1"


def test_an_upgrade_that_fails_cleans_up_before_it_ends(lab: Lab) -> None:
    """TR-3: also when what fails is not the disk."""
    for path in (lab.repo / "objects").rglob("*.zst"):
        path.write_bytes(path.read_bytes()[:-3])
    before = snapshot(lab.tree(2))

    with pytest.raises(RootmanError):
        lab.upgrade(3)

    assert differences(snapshot(lab.tree(2)), before) == []
    assert links(lab) == ("olpc.2", "olpc.1")
    assert is_whole(lab, 1, 2)


# --- a full disk ------------------------------------------------------------------------


def fill(directory: Path) -> None:
    """Leave not a byte, as a program of root's can."""
    directory.mkdir()
    with (directory / "large").open("wb", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    out.write(bytes(size))
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (directory / str(number)).write_bytes(bytes(5000))


@pytest.mark.parametrize(("kind", "size"), [("ext4", 16), ("xfs", 320), ("btrfs", 128)])
def test_a_full_disk(make_fs: MakeFs, kind: Kind, size: int) -> None:
    """TR-17, S6: one can look and go back, and prune does what its hint promises."""
    path = make_fs(kind, size_mib=size).path
    lab = make_lab(path)
    lab.pin(1)
    lab.upgrade(3)
    lab.pin(1, pinned=False)
    fill(path / "fill")

    assert lab.look().current == number(3)
    lab.rollback()
    with pytest.raises(NoSpace, match="free"):
        lab.upgrade(4)
    assert is_whole(lab, 1, 2, 3)
    lab.prune(fs=RealFs())
    assert is_whole(lab, 2, 3)
    assert links(lab) == ("olpc.2", "olpc.3")

    shutil.rmtree(path / "fill")
    lab.upgrade(4)
    assert lab.verify(4) == []
