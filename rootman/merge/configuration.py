"""The merge of configuration at an upgrade: read both trees, decide, act on the staged one."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from rootman.entries import open_quietly
from rootman.errors import Busy, InvalidInput
from rootman.merge.accounts import ACCOUNT_FILES, merge_accounts
from rootman.merge.carrying import Carrier, Copies
from rootman.merge.decision import Merged
from rootman.merge.defaults import read_default
from rootman.merge.imprint import imprints
from rootman.merge.local import Lines, describe_changes, find_changes
from rootman.merge.note import MergeNote
from rootman.merge.paths import ConfigPaths
from rootman.merge.planning import MergePlan, Sides, contested, plan_merge
from rootman.merge.rules import MAX_RULES, RULES_FILE, Rules, parse_rules
from rootman.merge.text import merge_text
from rootman.reading import changed, tree_failure
from rootman.treedirs import GONE, TreeDirs
from rootman.verify import open_tree
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack

    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.merge.local import Changes
    from rootman.merge.note import Imprints
    from rootman.names import TreeNumber
    from rootman.release import Release
    from rootman.report import Reporter
    from rootman.seal import SealRecord
    from rootman.session import Session
    from rootman.state import StoreState

    Read = Callable[[bytes, Entry], bytes | None]
    """Gives the content of a file of the new tree, None where it is not at hand."""

_T = TypeVar("_T")
_ATTEMPTS: Final = 3
_UNKNOWN: Final = ("what comes of it is known when its new default is here",)


@dataclass(frozen=True, slots=True)
class LocalTree:
    """The tree whose local changes are carried over: its root and its seal record, open."""

    number: TreeNumber
    root_fd: int
    record: SealRecord


@dataclass(frozen=True, slots=True)
class Carried:
    """What was carried over, and the directories whose entries changed.

    ``local`` has the imprints of the local changes that were found.
    """

    plan: MergePlan
    touched: frozenset[bytes]
    local: Imprints

    @property
    def beside(self) -> tuple[bytes, ...]:
        """The paths that something was put to beside another."""
        found = ((one.beside, one.old) for one in self.plan.outcomes)
        return tuple(path for pair in found for path in pair if path is not None)


@dataclass(frozen=True, slots=True)
class ConfigMerge:
    """The merge of the configuration of ``tree`` into a new one.

    ``config`` are the config paths of the release, ``new`` opens the new tree's manifest. Where
    the new tree is one that was used, ``used`` has what is not as in that, None: gone.
    """

    tree: LocalTree
    config: ConfigPaths
    new: Callable[[], Iterator[bytes]]
    rules: Rules
    used: Mapping[bytes, Entry | None] = field(default_factory=dict)

    def find(self) -> Changes:
        """Return what is not as it was sealed, by lstat(2) alone (MG-2).

        Raises:
            RootmanError: the tree cannot be read, or changes meanwhile.
        """
        return find_changes(self.tree.root_fd, self.tree.record, self.config)

    def imprints(self, changes: Changes) -> Imprints:
        """Return the imprints of the local ``changes``.

        Raises:
            InvalidInput: the record is damaged.
            OSError: the tree cannot be read.
        """
        return imprints(self.tree.root_fd, changes, self.tree.record.inodes(), self.config)

    def foresee(self) -> list[int]:
        """Return the size of each entry that will be carried over, if it can be (S6).

        Raises:
            Refused: it cannot.
            RootmanError: the tree cannot be read, or changes meanwhile.
        """
        changes = self.find()
        if changes and self.config.above:
            self.rehearse(lambda _path, _entry: None)
        return [status.st_size for status in changes.values() if status is not None]

    def rehearse(self, read: Read) -> MergePlan:
        """Return what would be done; ``read`` gives contents of the release.

        Raises:
            RootmanError: refused, or a tree cannot be read.
        """
        return _persistently(lambda: self._plan(self.find(), read)[0])

    def carry(
        self, fs: Fs, stage_fd: int, root_fd: int, record_fd: int, *, found: Changes | None = None
    ) -> Carried:
        """Carry local changes into the tree ``root_fd``, which is as the new side has it.

        ``stage_fd`` is its stage, ``record_fd`` its seal record. The changes are those that were
        ``found`` just now, if they were.

        Raises:
            RootmanError: refused, or the local tree cannot be read.
            OSError: the system refused; the tree is then neither one nor the other.
        """
        pending = [found] if found is not None else []

        def carry() -> Carried:
            changes = pending.pop() if pending else self.find()
            local = self.imprints(changes)
            plan, merged = self._plan(
                changes, lambda path, entry: read_below(root_fd, path, entry.size)
            )
            if not plan.outcomes:
                return Carried(plan, frozenset(), local)
            with Copies(fs, stage_fd, self.tree.root_fd) as copies:
                copies.take(plan.outcomes)
                carrier = Carrier(fs, root_fd, record_fd, copies, merged, used=self.used)
                carrier.carry(plan.outcomes)
                return Carried(plan, carrier.touched, local)

        return _persistently(carry)

    def _plan(self, changes: Changes, read: Read) -> tuple[MergePlan, dict[bytes, Merged]]:
        if not changes:
            return MergePlan(), {}
        with self.tree.record.manifest() as stream:
            base = Lines.of_config(stream, self.config)
        sides = Sides(base, describe_changes(self.tree.root_fd, changes), self._new_side())
        merged = {
            path: found
            for path in contested(sides)
            if (found := self._merged(path, sides, read)) is not None
        }
        return plan_merge(sides, self.config, merged), merged

    def _new_side(self) -> Mapping[bytes, Entry]:
        sealed = Lines.of_config(self.new(), self.config)
        if not self.used:
            return sealed
        now = {**sealed, **self.used}
        return {path: entry for path, entry in now.items() if entry is not None}

    def _merged(self, path: bytes, sides: Sides, read: Read) -> Merged | None:
        """Return what becomes of two contents, None where they are not merged."""
        is_account = path in ACCOUNT_FILES
        local = sides.local[path]
        if local is None or not (is_account or self.rules.allow(path)):
            return None
        ours = read_below(self.tree.root_fd, path, local.size)
        if ours is None or _hash(ours) != local.sha256:
            raise changed(path)
        how = "entry by entry" if is_account else "line by line"
        theirs = read(path, sides.new[path])
        if theirs is None:
            return Merged(b"", "", how, notes=_UNKNOWN)
        before = self._default(path, sides.base)
        if not is_account:
            content = None if before is None else merge_text(before, ours, theirs)
            return None if content is None else _merged(content, how)
        accounts = merge_accounts(path, before or b"", ours, theirs)
        if accounts is None:
            return None
        return _merged(accounts.content, how, tuple(accounts.losses), tuple(accounts.notes))

    def _default(self, path: bytes, base: Mapping[bytes, Entry]) -> bytes | None:
        """Return what ``path`` was sealed with, None where that is nowhere any more."""
        entry, record = base.get(path), self.tree.record
        if entry is None or not isinstance(base, Lines):
            return None
        content = read_default(record.dir_fd, record.inodes()[base.number(path)])
        is_it = content is not None and _hash(content) == entry.sha256
        return content if is_it else None


def open_merge(
    opened: Session,
    state: StoreState,
    release: Release,
    new: Callable[[], Iterator[bytes]],
    stack: ExitStack,
) -> ConfigMerge | None:
    """Return the merge of the tree that is current into a new one, None where none is.

    ``new`` opens the manifest of the new tree, which is of ``release``; ``stack`` closes the
    other in the end.

    Raises:
        RootmanError, OSError: the tree that is current cannot be opened.
    """
    config = ConfigPaths.of(release.config, release.state)
    current = state.sealed(state.current)
    if current is None:
        return None
    root, record = stack.enter_context(open_tree(opened.store, current))
    rules = read_rules(root, opened.reporter)
    return ConfigMerge(LocalTree(current.number, root, record), config, new, rules)


def note_of(merge: ConfigMerge, carried: Carried, root_fd: int, record: SealRecord) -> MergeNote:
    """Return the note of a merge into the tree ``root_fd``, as that is now, for its ``record``.

    Raises:
        RootmanError: the tree cannot be read.
    """
    changes = find_changes(root_fd, record, merge.config) if carried.touched else {}
    result = imprints(root_fd, changes, record.inodes(), merge.config)
    beside = tuple(path for path in carried.beside if not merge.config.covers(path))
    return MergeNote.of(merge.tree.number, carried.local, result, beside)


def read_rules(root_fd: int, reporter: Reporter) -> Rules:
    """Return the rules of the tree ``root_fd``; damaged ones are told of, and none.

    Raises:
        RootmanError: they cannot be read.
    """
    data = read_below(root_fd, RULES_FILE, MAX_RULES)
    if data is None:
        return Rules()
    try:
        return parse_rules(data, f"/{RULES_FILE.decode()}")
    except InvalidInput as error:
        reporter.warn(f"{error}: nothing is merged line by line")
        return Rules()


def read_below(root_fd: int, path: bytes, limit: int) -> bytes | None:
    """Return the content of a file of a tree; None for what is none, or has more than ``limit``.

    Raises:
        RootmanError: it cannot be read.
    """
    parent, name = split(path)
    try:
        with TreeDirs(root_fd) as dirs:
            fd = open_quietly(name, dir_fd=dirs.fd(parent))
            with open(fd, "rb") as file:
                is_file = stat.S_ISREG(os.fstat(fd).st_mode)
                data = file.read(limit + 1) if is_file else b""
    except OSError as error:
        if error.errno in GONE:
            return None
        raise tree_failure(error, path) from error
    return data if is_file and len(data) <= limit else None


def _merged(
    content: bytes, how: str, losses: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Merged:
    return Merged(content, _hash(content), how, losses, notes)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _persistently(action: Callable[[], _T]) -> _T:
    """Do it again where the local tree was changed meanwhile.

    Raises:
        Busy: it goes on changing.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(Busy):
            return action()
    return action()
