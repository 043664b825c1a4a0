"""A store and its repository side by side, and the commands as tests give them.

Out of scope: trees (``builders``); what the command line adds to the commands.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rootman.adopt import adopt
from rootman.boot.marking import Finished, begin_boot, finish, mark
from rootman.bundles import parse_list
from rootman.bundling import add_bundles, remove_bundles
from rootman.fsops import RealFs
from rootman.initialisation import Request, initialise
from rootman.objects import NoOrigin, Objects
from rootman.repair import RepairResult, repair_tree
from rootman.repo.publish import Publication, PublishResult, publish
from rootman.repo.repository import Repository
from rootman.retention import prune, set_pin
from rootman.rollback import RollbackResult, rollback
from rootman.seal import SealRecord
from rootman.session import Session, look, session
from rootman.store import open_store, require_tree, scan
from rootman.survey import Check
from rootman.upgrade import Options, UpgradeResult, upgrade
from rootman.verify import Difference, Verdict, verdict, verify_tree
from tests.builders import build
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from rootman.delta import Drift
    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.objects import Origin
    from rootman.repo.source import Source
    from rootman.state import StoreState
    from rootman.steps import Plan
    from tests.builders import Tree
    from tests.numbers import Number

PUBLISHED = "2026-11-20T17:00:00Z"


@dataclass(slots=True)
class Listener:
    """A reporter that remembers."""

    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def progress(self, done: int, total: int) -> None:
        del done, total

    def fetched(self, done: int, total: int) -> None:
        del done, total

    def said(self, text: str) -> None:
        self.words.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Lab:
    """The store and the repository in the directory ``home``, and where their trees came from."""

    def __init__(
        self, home: Path | str, *, name: str = "olpc", make_fs: Callable[[], Fs] = RealFs
    ) -> None:
        self.home = Path(home)
        self.name = name
        self.make_fs = make_fs
        self.heard = Listener()

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def repo(self) -> Path:
        return self.home / "repo"

    @property
    def control(self) -> Path:
        return self.store / ".rootman"

    def source(self, number: Number) -> Path:
        """Return the directory that a version was published from."""
        return self.home / f"source.{number}"

    def tree(self, number: Number) -> Path:
        return self.store / f"{self.name}.{number}"

    def spare(self, number: Number) -> Path:
        return self.control / f"staging/spare.{number}/root"

    def link(self, name: str) -> str:
        """Return where ``current`` or ``previous`` leads."""
        return os.readlink(self.store / name)

    def session(self, fs: Fs | None = None, *, forks: int = 1) -> AbstractContextManager[Session]:
        return session(str(self.store), fs or self.make_fs(), self.heard, forks=forks)

    def init(self, tree: Path | None = None, version: int = 0, fs: Fs | None = None) -> None:
        """``rootman init``, and with a tree ``rootman init TREE --version N``."""
        request = Request(str(tree) if tree else None, version, os_name=self.name)
        initialise(str(self.store), request, fs or self.make_fs(), self.heard, forks=1)

    def adopt(self, source: Path, tree: Number, fs: Fs | None = None) -> None:
        """Take ``source`` in as ``tree``, whatever its number."""
        with self.session(fs) as opened:
            adopt(opened, str(source), number(tree))

    def publish(
        self,
        version: int,
        tree: Tree | None = None,
        fs: Fs | None = None,
        lists: Mapping[str, str] | None = None,
        *,
        config: Sequence[str] = (),
        state: Sequence[str] = (),
    ) -> PublishResult:
        """Publish ``tree``, made here, or what is at ``source(version)`` already.

        ``lists`` are the lists of bundles, ``config`` the paths that are merged,
        ``state`` those that are there once.
        """
        if tree is not None:
            build(self.source(version), tree)
        return publish(
            str(self.source(version)),
            str(self.repo),
            Publication(
                version,
                name=self.name,
                timestamp=PUBLISHED,
                config=config,
                state=state,
                lists={
                    name: parse_list(text.encode(), f"{name}.list")
                    for name, text in (lists or {}).items()
                },
            ),
            fs=fs or self.make_fs(),
        )

    def upgrade(
        self, version: int, fs: Fs | None = None, options: Options | None = None, *, forks: int = 1
    ) -> UpgradeResult:
        with (
            self.session(fs, forks=forks) as opened,
            Repository.open(f"{self.repo}/releases/{version}.json") as repository,
        ):
            return upgrade(opened, repository, options or Options())

    def upgrade_from(
        self, source: Source, version: int, fs: Fs | None = None, options: Options | None = None
    ) -> UpgradeResult:
        """Upgrade to ``version`` of the repository that ``source`` has."""
        with self.session(fs) as opened, Repository(source, version) as repository:
            return upgrade(opened, repository, options or Options())

    def add(self, *names: str, fs: Fs | None = None, source: Source | None = None) -> UpgradeResult:
        """``rootman bundle add NAMES --from REPO``, or from ``source``."""
        opening = Repository(source) if source else Repository.open(str(self.repo))
        with self.session(fs) as opened, opening as repository:
            return add_bundles(opened, repository, names, Options())

    def remove(self, *names: str, fs: Fs | None = None) -> UpgradeResult:
        """``rootman bundle remove NAMES``."""
        with self.session(fs) as opened:
            return remove_bundles(opened, None, names, Options())

    def rollback(
        self, to: Number | None = None, fs: Fs | None = None, *, keep_config: bool = False
    ) -> RollbackResult:
        with self.session(fs) as opened:
            return rollback(opened, None if to is None else number(to), keep_config=keep_config)

    def finish(self, runs: Number, fs: Fs | None = None) -> Finished:
        """``rootman boot finish`` where the tree ``runs``."""
        with self.session(fs) as opened:
            return finish(opened, self.tree(runs).name)

    def prune(self, *trees: Number, keep: int = 2, fs: Fs | None = None) -> None:
        with self.session(fs) as opened:
            prune(opened, keep=keep, numbers=[number(tree) for tree in trees])

    def pin(self, tree: Number, fs: Fs | None = None, *, pinned: bool = True) -> None:
        with self.session(fs) as opened:
            set_pin(opened, number(tree), pinned=pinned)

    def boot_init(self, fs: Fs | None = None) -> None:
        with self.session(fs) as opened:
            begin_boot(opened)

    def mark(
        self,
        planner: Callable[[StoreState, TreeNumber], Plan],
        tree: Number,
        fs: Fs | None = None,
    ) -> None:
        """``rootman boot mark-good`` or ``mark-bad``, by its planner."""
        with self.session(fs) as opened:
            mark(opened, planner, number(tree))

    def repair(self, repaired: Number, fs: Fs | None = None) -> RepairResult:
        with self.session(fs) as opened, ExitStack() as stack:
            tree = require_tree(scan(opened.store), number(repaired))
            origin: Origin = NoOrigin()
            if self.repo.exists():
                origin = stack.enter_context(Repository.open(str(self.repo)))
            return repair_tree(opened, tree, Objects(opened.fs, opened.store.objects, origin))

    def look(self, fs: Fs | None = None) -> StoreState:
        """Return the state as ``rootman status`` does, what was interrupted recovered."""
        with look(str(self.store), lambda: fs or self.make_fs(), self.heard) as view:
            return view.state

    def scan(self) -> StoreState:
        """Return the state as it is on the disk."""
        with open_store(str(self.store)) as store:
            return scan(store)

    def drift_of_spare(self, tree: Number) -> list[Drift]:
        """Return what the quick check finds in the spare that is a clone of ``tree``."""
        stage = self.spare(tree).parent
        root, meta = (os.open(stage / name, os.O_RDONLY) for name in ("root", "meta"))
        try:
            record = SealRecord(meta, str(stage))
            return Check(root, record, record.digests(), forks=1).drift()
        finally:
            os.close(root)
            os.close(meta)

    def verify(self, tree: Number) -> list[Difference]:
        with open_store(str(self.store)) as store:
            return verify_tree(store, require_tree(scan(store), number(tree)))

    def verdict(self, tree: Number) -> Verdict:
        return verdict(self.verify(tree))
