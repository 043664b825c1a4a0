"""Making the directories of state paths that a tree is the first to want.

They are made before the tree runs, when nothing changes what they are made of: of the tree that
ran last, so that what was written into it so far goes on. A directory is copied aside and gets
its name when it is whole and durable, so that a power cut leaves all of it or nothing, and what
has its name is never written again by rootman (spec/55-state.md).
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.boot.states import names_there, places, read_state_record
from rootman.errors import NoSpace, SystemFailure
from rootman.fsops import open_dir, opened
from rootman.names import tree_name
from rootman.removal import remove_tree
from rootman.smallfiles import open_given
from rootman.statepaths import FIRST_GENERATION, state_path
from rootman.store import STATES
from rootman.treedirs import GONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.statepaths import StateRecord
    from rootman.store import Store

_NEW: Final = ".new"
_GONE: Final = ".gone"
# Everything that a file has, or an error; holes stay, and blocks are shared where they can be.
_COPY: Final = (
    "cp", "--recursive", "--no-dereference", "--one-file-system", "--no-target-directory",
    "--preserve=mode,ownership,timestamps,links,xattr", "--sparse=auto", "--reflink=auto", "--",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """What state is made of: an open directory, below which paths are as below ``/``.

    But for one that ``is_state``, with state paths by their names.
    """

    what: str
    fd: int
    is_state: bool = False

    @contextmanager
    def directory(self, name: str) -> Iterator[int | None]:
        """Have that of a state path open; None where there is none, or only by a symlink."""
        path = name if self.is_state else state_path(name)[1:]
        try:
            found = open_dir(path, dir_fd=self.fd)
        except OSError as error:
            if error.errno not in GONE:
                raise
            yield None
            return
        try:
            yield found
        finally:
            os.close(found)


@dataclass(frozen=True, slots=True)
class MadeState:
    """A state path that was made, of ``what``; None where there was nothing to make it of."""

    path: str
    what: str | None


@dataclass(frozen=True, slots=True)
class Making:
    """The making of state paths in the directory ``state_fd``.

    ``sources`` are asked one after the other for a path; the last is the tree that is to run.
    """

    fs: Fs
    state_fd: int
    sources: Sequence[Source]

    def make(self, record: StateRecord) -> list[MadeState]:
        """Make what ``record`` wants and is not there; return what was.

        Raises:
            NoSpace, SystemFailure: it cannot be copied; nothing of it has its name.
            OSError: the system refused.
        """
        folder = str(record.generation)
        missing = record.missing(names_there(self.state_fd, record.generation))
        if not missing:
            return []
        is_new = folder not in os.listdir(self.state_fd)
        # A generation that was begun anew has nothing of the others. It is not anew in a place of
        # its own where the store has it.
        is_known = not is_new or any(one.is_state for one in self.sources)
        is_fresh = record.generation > FIRST_GENERATION and not is_known
        sources = self.sources[-1:] if is_fresh else self.sources
        remove_tree(self.fs, _NEW.encode(), dir_fd=self.state_fd)
        self.fs.mkdir(_NEW, 0o700, dir_fd=self.state_fd)
        with opened(_NEW, dir_fd=self.state_fd) as new:
            made = [MadeState(state_path(one), self._copy(one, new, sources)) for one in missing]
        self.fs.syncfs(self.state_fd)
        if is_new:
            self.fs.move(_NEW, folder, source_fd=self.state_fd, target_fd=self.state_fd)
        else:
            self._take_in(folder)
        self.fs.fsync(self.state_fd)
        return made

    def _take_in(self, folder: str) -> None:
        """Give what was made its place beside what was there."""
        with opened(_NEW, dir_fd=self.state_fd) as new, opened(folder, dir_fd=self.state_fd) as old:
            for name in os.listdir(new):
                self.fs.move(name, name, source_fd=new, target_fd=old)
            self.fs.fsync(old)
        self.fs.rmdir(_NEW, dir_fd=self.state_fd)

    def _copy(self, name: str, new: int, sources: Sequence[Source]) -> str | None:
        """Copy the first directory that a source has; return what has it, None where none has."""
        for source in sources:
            with source.directory(name) as found:
                if found is not None:
                    _copy_directory(found, name, new)
                    return source.what
        return None


def _copy_directory(source: int, name: str, target: int) -> None:
    import subprocess

    done = subprocess.run(
        (*_COPY, f"/proc/self/fd/{source}/.", f"/proc/self/fd/{target}/{name}"),
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        check=False, pass_fds=(source, target), env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = f"state {state_path(name)}: it cannot be copied: {said[-1] if said else 'cp failed'}"
        kind = NoSpace if "No space left" in done.stderr else SystemFailure
        raise kind(why, hint="make room, or mend it there, and boot again")


def make_state(
    fs: Fs, store: Store, number: TreeNumber, *, left: str | None = None, place: str | None = None
) -> list[MadeState]:
    """Make the state paths that the tree ``number`` wants and that are not there yet.

    ``left`` is where the tree is that ran last. ``place`` is a directory on a filesystem of its own
    for them; by default they are in the store, and what the store has is copied to that place.

    Raises:
        NotFound: one of the directories is not there.
        RootmanError, OSError: it cannot be done; no path is half there.
    """
    record = read_state_record(store, number)
    name = tree_name(store.settings().os_name, number)
    with ExitStack() as stack:
        sources: list[Source] = []
        own = _open_own(fs, store, stack)
        state_fd = own
        if place is not None:
            state_fd = _kept(stack, open_given(place))
            with suppress(FileNotFoundError):
                there = open_dir(str(record.generation), dir_fd=own)
                sources.append(Source("the store", _kept(stack, there), is_state=True))
        if left is not None:
            sources.append(Source("the tree that ran last", _kept(stack, open_given(left))))
        sources.append(Source(name, _kept(stack, open_dir(name, dir_fd=store.fd))))
        return Making(fs, state_fd, sources).make(record)


def _open_own(fs: Fs, store: Store, stack: ExitStack) -> int:
    """Open the directory of the state in the store, made if need be."""
    with suppress(FileExistsError):
        fs.mkdir(STATES, 0o700, dir_fd=store.control)
        fs.fsync(store.control)
    return _kept(stack, open_dir(STATES, dir_fd=store.control))


def _kept(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def drop_generation(fs: Fs, store: Store, generation: int) -> None:
    """Remove a generation of the state, wherever it is: its name first, durably (ST-25).

    Raises:
        OSError: the system refused; what lost its name goes with the next.
    """
    for state_fd in places(store):
        remove_tree(fs, _GONE.encode(), dir_fd=state_fd)
        if str(generation) in os.listdir(state_fd):
            fs.move(str(generation), _GONE, source_fd=state_fd, target_fd=state_fd)
            fs.fsync(state_fd)
            remove_tree(fs, _GONE.encode(), dir_fd=state_fd)
