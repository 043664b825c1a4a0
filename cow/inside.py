"""Programs that run in a tree on its way to be sealed, through a guard, seen by nobody else.

The tree shares its files with others, so what changes it goes through a guard of its own.
That, and all that is mounted for the programs, is in a mount namespace which ends with them;
they are in a pid namespace, of which nothing is left when its first process dies. And each
process here dies with the one that started it. So there are, from the command down: the
conductor, in its own mount namespace; the guard, and the first process of the pid namespace;
and in the tree as their root directory, the programs. The first process is outside, so that
programs which look for it find that they are in a chroot, and systemctl starts nothing.

Out of scope: which programs, and what is made of what they say (``rootman.layer``).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import stat
import traceback
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from cow.mounting import BIND, NODEV, NOEXEC, NOSUID, RDONLY, leave_mounts, mount
from rootman.errors import RootmanError, SystemFailure
from rootman.fsops import check
from rootman.layer.layering import MOUNTPOINT, SCRATCH
from rootman.store import STAGE_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.layer.layering import Job
    from rootman.layer.managers import Placed

UNABLE: Final = 125
"""The exit code of what could not run the programs, as chroot(1) has it."""
_GUARD: Final = "guard"
_READY: Final = b"r"
_SIGNALLED: Final = 128
_CLONE_NEWPID: Final = 0x20000000
_PR_SET_PDEATHSIG: Final = 1
_DEVICES: Final = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_LINKS: Final = {
    "fd": "/proc/self/fd",
    "ptmx": "pts/ptmx",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}

_libc = ctypes.CDLL(None, use_errno=True)


def run_inside(job: Job, said: Callable[[str], None]) -> int:
    """Run the programs of ``job``, one after the other, until one fails; return its exit code.

    ``said`` gets each line of what they print. When this returns, or raises, nothing of them
    is left.

    Raises:
        SystemFailure: they could not be run.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    conductor = _fork(partial(_conduct, job), writing)
    os.close(writing)
    last = ""
    with open(reading, "rb") as words:
        try:
            for line in words:
                last = line.decode("utf-8", "backslashreplace").rstrip()
                said(last)
        except BaseException:
            os.kill(conductor, signal.SIGKILL)
            for _ in words:
                pass  # until nobody is left who could write
            raise
        finally:
            code = _exit_code(conductor)
    if code == UNABLE:
        raise SystemFailure(last or "the guard ended at once", hint="is fuse in the kernel?")
    return code


def _fork(action: Callable[[], int], words: int) -> int:
    """Have a process of its own do ``action`` and exit with what it returns; return its number.

    What it prints goes to the descriptor ``words``. It dies when this process does.
    """
    alive, lives = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(alive)
        _lives[pid] = lives
        return pid
    code = UNABLE
    try:
        os.close(lives)
        _die_with_parent(alive)
        with open(os.devnull, "rb") as nothing:
            for number, fd in enumerate((nothing.fileno(), words, words)):
                os.dup2(fd, number)
        code = action()
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except RootmanError as error:
        _say(str(error))
    except BaseException:  # noqa: BLE001  a bug; there is nobody else to tell it
        _say(traceback.format_exc())
    finally:
        os._exit(code)


_lives: Final[dict[int, int]] = {}
"""The pipes by which the processes started here know that this one lives."""


def _die_with_parent(alive: int) -> None:
    check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if _is_over(alive):
        os._exit(UNABLE)  # it died before it could be noticed
    os.close(alive)


def _is_over(pipe: int) -> bool:
    """Return whether nobody is left who could write to a pipe."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _exit_code(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    os.close(_lives.pop(pid))
    return _code(status)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _SIGNALLED - code


def _say(text: str) -> None:
    os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))


def _conduct(job: Job) -> int:
    """Have a guard of the tree, and the programs run in it, in a mount namespace of their own."""
    os.setsid()
    leave_mounts()
    ready, readies = os.pipe2(os.O_CLOEXEC)
    guard = _fork(partial(_guard, job, readies), 2)
    os.close(readies)
    if os.read(ready, 1) != _READY:
        _exit_code(guard)
        return UNABLE  # it said why
    check(_libc.unshare(_CLONE_NEWPID), "a pid namespace")
    code = _exit_code(_fork(partial(_be_first, job), 2))
    os.kill(guard, signal.SIGTERM)
    return code or _exit_code(guard)


def _guard(job: Job, readies: int) -> int:
    """Answer for the tree until that is not needed any more."""
    from cow.guard import Subject, mounted
    from cow.seal import SealedInodes

    tree = f"{job.stage}/{STAGE_ROOT}"
    subject = Subject(job.stage, STAGE_ROOT, _GUARD, tree)
    with mounted(subject, f"{job.stage}/{MOUNTPOINT}", SealedInodes(job.sealed)) as serve:
        serve(lambda: os.close(readies) if os.write(readies, _READY) else None)
    return 0


def _be_first(job: Job) -> int:
    """Be the first process of the pid namespace: others that end are its to wait for."""
    programs = _fork(partial(_run, job), 2)
    while True:
        pid, status = os.wait()
        if pid == programs:
            return _code(status)


def _run(job: Job) -> int:
    os.umask(0o022)
    scratch = os.open(f"{job.stage}/{SCRATCH}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chroot(f"{job.stage}/{MOUNTPOINT}")
    os.chdir("/")
    _furnish(scratch)
    with ExitStack() as stack:
        for number, one in enumerate(job.placed):
            stack.enter_context(_placed(one, f"/run/rootman.{number}"))
        for command in job.commands:
            # Python ignores these two, and programs would inherit that.
            pipe = (signal.SIGPIPE, signal.SIGXFSZ)
            pid = os.posix_spawn(command[0], command, dict(job.environment), setsigdef=pipe)
            code = _code(os.waitpid(pid, 0)[1])
            if code:
                return code
    return 0


def _furnish(scratch: int) -> None:
    """Mount what programs need of a kernel, and nothing that leads to the machine's disks.

    The root directory is that of the tree by now, so no symlink in it leads out of it.
    """
    _mount("proc", "/proc", NOSUID | NODEV | NOEXEC)
    _mount("sysfs", "/sys", NOSUID | NODEV | NOEXEC | RDONLY)
    _mount("tmpfs", "/dev", NOSUID | NOEXEC, "mode=755")
    umask = os.umask(0)
    for name, minor in _DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
    os.umask(umask)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts")
    _mount("devpts", "/dev/pts", NOSUID | NOEXEC, "newinstance,ptmxmode=666,mode=620")
    os.symlink("/tmp", "/dev/shm")  # noqa: S108
    _mount("tmpfs", "/run", NOSUID | NODEV, "mode=755")
    mount(f"/proc/self/fd/{scratch}", "/tmp", BIND)  # noqa: S108


def _mount(kind: str, path: str, flags: int, options: str = "") -> None:
    mount(kind, path, flags, kind=kind, options=options)


@contextmanager
def _placed(one: Placed, aside: str) -> Iterator[None]:
    """Have a file in the tree in the context, and nothing of it afterwards.

    Where one is there it is covered by a mount, from ``aside``. Else it is made, unless
    its directory is missing; that gets the time again which it had, or others left it with.
    """
    path = os.path.realpath(one.path)
    parent = os.path.dirname(path)
    if parent.startswith("/run/"):
        os.makedirs(parent, exist_ok=True)
    if os.path.isfile(path):
        _write(aside, one)
        mount(aside, path, BIND)
        yield
    elif os.path.isdir(parent) and not os.path.exists(path):
        before = os.stat(parent)
        _write(path, one)
        made = os.stat(parent)
        yield
        after = os.stat(parent)
        os.unlink(path)
        left = before if after.st_mtime_ns == made.st_mtime_ns else after
        os.utime(parent, ns=(left.st_atime_ns, left.st_mtime_ns))
    else:
        yield


def _write(path: str, one: Placed) -> None:
    with open(path, "xb") as file:
        file.write(one.content)
    os.chmod(path, one.mode)
