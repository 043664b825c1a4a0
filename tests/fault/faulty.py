"""An ``Fs`` whose calls are counted, told to somebody, and made to fail.

In scope: wrapping any ``Fs``, the faults, a command run in a process of its own that
may be killed. Out of scope: what a fault may leave (``states``), which commands are
tried (``scenarios``), and in which order calls must come (``order``).
"""

from __future__ import annotations

import ctypes
import errno
import inspect
import os
import pickle
import signal
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

from rootman.errors import RootmanError
from rootman.fsops import RealFs

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.fsops import Fs

T = TypeVar("T")

Mode = Literal["kill", "ENOSPC", "EIO", "full", "dead"]
"""Die at one call; one call fails, once; from one call on the disk is full, or fails always."""

# What a full disk refuses.
_GROWS: Final = frozenset(
    {"mkdir", "link", "symlink", "mknod", "create", "write", "truncate", "set_xattr"}
)
_PR_SET_PDEATHSIG: Final = 1


class Call:
    """One call of a method of an ``Fs``, about to be made."""

    def __init__(self, op: str, arguments: dict[str, Any]) -> None:
        self.op = op
        self.arguments = arguments

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The absolute paths that the call is about: for two names source first."""
        given = self.arguments
        if "fd" in given:
            return (os.readlink(f"/proc/self/fd/{given['fd']}"),)
        if "source_fd" in given:
            pairs = [(given["source_fd"], given["source"]), (given["target_fd"], given["target"])]
        else:
            # The target of a symlink is no path of ours; some calls of a guard have descriptors.
            pairs = [(given["dir_fd"], given["name"])] if "name" in given else []
        return tuple(_path(dir_fd, name) for dir_fd, name in pairs)

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(self.paths)})"


def _path(dir_fd: int, name: str | bytes) -> str:
    return os.path.normpath(os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fsdecode(name)))


class _Interposed:
    def __init__(self, fs: Fs, tap: Callable[[Call], None]) -> None:
        self._fs = fs
        self._tap = tap

    def __getattr__(self, op: str) -> Callable[..., Any]:
        method = getattr(self._fs, op)
        bind = _signature(method).bind

        def call(*args: object, **kwargs: object) -> object:
            self._tap(Call(op, bind(*args, **kwargs).arguments))
            return method(*args, **kwargs)

        return call


_signatures: Final[dict[object, inspect.Signature]] = {}  # of the functions of classes


def _signature(method: Callable[..., object]) -> inspect.Signature:
    function = getattr(method, "__func__", None)
    if function is None:
        return inspect.signature(method)
    if function not in _signatures:
        _signatures[function] = inspect.signature(method)
    return _signatures[function]


def interposed(fs: Fs, tap: Callable[[Call], None]) -> Fs:
    """Return ``fs`` with ``tap`` told of every call before it is made; it may raise or kill."""
    # By __getattr__, so that a method that Fs gets later cannot slip past.
    return cast("Fs", _Interposed(fs, tap))


class Hasty(RealFs):
    """The real disk without its syncs: what a process leaves when only the process dies."""

    def fsync(self, fd: int) -> None:
        """Have the descriptor checked, and nothing else."""
        os.fstat(fd)

    def syncfs(self, fd: int) -> None:
        """Have the descriptor checked, and nothing else."""
        os.fstat(fd)

    def freeze_thaw(self, fd: int) -> None:
        """Have the descriptor checked, and nothing else."""
        os.fstat(fd)


@dataclass(slots=True)
class Fault:
    """A tap that makes call number ``at`` (from 1), or all from it on, fail as ``mode`` says."""

    mode: Mode
    at: int
    count: int = 0
    fired: str = ""
    """The call that failed first."""
    fired_at: int = 0
    """Its number."""

    def __call__(self, call: Call) -> None:
        self.count += 1
        if self.count < self.at or (self.fired and self.mode in ("ENOSPC", "EIO")):
            return
        if self.mode == "full" and call.op not in _GROWS:
            return
        if not self.fired:
            self.fired, self.fired_at = repr(call), self.count
        if call.op == "write":  # a fault in the middle of it
            data = call.arguments["data"]
            os.write(call.arguments["fd"], data[: len(data) // 2])
        if self.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        code = errno.ENOSPC if self.mode in ("ENOSPC", "full") else errno.EIO
        names = [call.arguments[key] for key in ("name", "source") if key in call.arguments]
        raise OSError(code, os.strerror(code), *names[:1])


@dataclass(slots=True)
class KillBefore:
    """A tap that dies before the first call that ``wanted`` says yes to, after ``skip`` such."""

    wanted: Callable[[Call], bool]
    skip: int = 0

    def __call__(self, call: Call) -> None:
        if self.wanted(call):
            self.skip -= 1
            if self.skip < 0:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. ``fired`` is the call at which the fault came, if it came."""

    kind: Literal["done", "failed", "killed", "bug"]
    fired: str = ""
    fired_at: int = 0
    """Its number, 0 where nobody lived to tell."""
    message: str = ""
    exit_code: int = 0
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class Forked(Generic[T]):
    """A function at work in a process of its own, which dies with this one."""

    def __init__(self, function: Callable[[], T]) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self._pid = os.fork()
        self._reader = reader
        if self._pid:
            os.close(writer)
            return
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                return  # it died before that, and nobody waits
            os.close(reader)
            with open(writer, "wb") as pipe:
                pipe.write(_packed(function))
        finally:
            os._exit(0)

    def fileno(self) -> int:
        """Return what becomes readable when it has a result."""
        return self._reader

    def kill(self) -> None:
        """End it; nobody wants its result any more."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._reader)

    def result(self) -> T | None:
        """Wait for it and return what it returned, None if it was killed.

        Raises:
            AssertionError: it raised; the message is the traceback.
        """
        with open(self._reader, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSIGNALED(status):
            return None
        trouble, value = cast("tuple[str, T]", pickle.loads(data))  # noqa: S301 - our own
        if trouble:
            raise AssertionError(trouble)
        return value

    def surely(self) -> T:
        """Return the result of what must not be killed."""
        found = self.result()
        if found is None:
            raise AssertionError("a process of the test was killed")
        return found


def _packed(function: Callable[[], object]) -> bytes:
    try:
        return pickle.dumps(("", function()))
    except BaseException:  # noqa: BLE001 - told to the parent
        return pickle.dumps((traceback.format_exc(), None))


def attempt(
    function: Callable[[], object],
) -> tuple[Literal["done", "failed", "bug"], str, int]:
    """Call a command; return how it ended, its message and its exit code."""
    try:
        function()
    except RootmanError as error:
        return "failed", str(error), error.exit_code
    except Exception:  # noqa: BLE001 - a bug of rootman is a finding
        return "bug", traceback.format_exc(), 1
    return "done", "", 0
