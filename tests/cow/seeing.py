"""What a conformance case sees of a filesystem, where it may look, and the list of all cases.

A case is a function that works in the current directory, a fresh copy of ``furnish``, and
tells ``See`` what it finds. It is run on plain ext4 and in a mount; what it saw must be equal.
Out of scope: the cases (``posix_*``) and where they are run (``test_posix``).
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from tests.fault.faulty import Forked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

USER: Final = 4201
OTHER: Final = 4202
GROUP: Final = 4301
SECOND_GROUP: Final = 4302
PAST: Final = 1_500_000_000_123_456_789
"""The times of what ``furnish`` makes: whatever is newer was changed by the case."""
_PATIENCE: Final = 30  # seconds until a case that hangs is killed

Seen = dict[str, object]
Case = "Callable[[See], None]"
CASES: Final[dict[str, Callable[[See], None]]] = {}


def case(function: Callable[[See], None]) -> Callable[[See], None]:
    """Add a case to the list."""
    name = f"{function.__module__.rpartition('posix_')[2]}.{function.__name__}"
    assert name not in CASES
    CASES[name] = function
    return function


def outcome(function: Callable[..., object], *arguments: Any, **more: Any) -> object:  # noqa: ANN401
    """Return what a call returned, or the name of its errno."""
    try:
        return function(*arguments, **more)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


class See:
    """What a case saw, by labels."""

    def __init__(self) -> None:
        self.seen: Seen = {}

    def value(self, label: str, value: object) -> None:
        """Note a finding."""
        assert label not in self.seen, label
        self.seen[label] = value

    def __call__(self, label: str, function: Callable[..., object], *arguments: Any) -> object:  # noqa: ANN401
        """Note how a call ends; return that, too."""
        found = outcome(function, *arguments)
        self.value(label, found)
        return found

    def by(
        self,
        uid: int,
        label: str,
        function: Callable[..., object],
        *arguments: Any,  # noqa: ANN401
        groups: tuple[int, ...] = (),
    ) -> object:
        """Note how a call by another user ends, whose groups are ``groups`` beside the first."""
        found = as_user(uid, lambda: outcome(function, *arguments), groups=groups)
        self.value(label, found)
        return found


class meanwhile(Generic[T]):  # noqa: N801 - reads as what it does
    """Another process that does ``function``; it is killed when it hangs."""

    def __init__(self, function: Callable[[], T]) -> None:
        def work() -> tuple[T]:
            signal.alarm(_PATIENCE)
            return (function(),)

        self._process = Forked(work)

    def surely(self) -> T:
        """Return what it returned."""
        return self._process.surely()[0]


def as_user(uid: int, function: Callable[[], T], *, groups: tuple[int, ...] = ()) -> T:
    """Return what ``function`` returns in a process of another user, whose group is as his id."""

    def work() -> T:
        os.setgroups(groups)
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        return function()

    return meanwhile(work).surely()


def furnish(home: Path) -> None:
    """Make what a case finds in its directory."""
    home.mkdir()
    (home / "dir").mkdir()
    (home / "empty").mkdir()
    for name in ("file", "mine", "tool", "dir/inner", "pair"):
        (home / name).write_bytes(b"sealed content\n")
    os.mkfifo(home / "fifo")
    os.link(home / "pair", home / "dir" / "pair")
    for name in ("file", "mine", "dir/inner", "pair", "fifo"):
        os.chmod(home / name, 0o644)
    for name in (".", "dir", "empty", "tool"):
        os.chmod(home / name, 0o755)
    os.setxattr(home / "file", "user.mark", b"sealed")
    (home / "link").symlink_to("file")
    (home / "dangling").symlink_to("nowhere")
    (home / "loop").symlink_to("loop")
    os.mknod(home / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkdir(home / "open")
    os.chmod(home / "open", 0o777)
    os.chmod(home / "null", 0o666)
    for name in ("mine", "open"):
        os.chown(home / name, USER, USER)
    for path in (*home.rglob("*"), home):
        os.utime(path, ns=(PAST, PAST), follow_symlinks=False)


def run(function: Callable[[See], None], home: Path) -> Seen:
    """Return what a case sees in ``home``, run in a process of its own."""

    def work() -> Seen:
        os.umask(0o022)
        os.chdir(home)
        see = See()
        function(see)
        return see.seen

    return meanwhile(work).surely()
