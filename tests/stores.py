"""A store and its repository side by side, and the commands as tests give them.

Out of scope: trees (``builders``); what the command line adds to the commands.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rootman.adopt import adopt, make_store
from rootman.execute import Executor
from rootman.fsops import RealFs
from rootman.objects import NoOrigin, Objects
from rootman.plan import plan_pin, plan_prune, plan_rollback
from rootman.repair import RepairResult, repair_tree
from rootman.repo.publish import Publication, PublishResult, publish
from rootman.repo.repository import Repository
from rootman.session import look, session
from rootman.state import Settings, StoreState
from rootman.steps import DeleteTree
from rootman.store import open_store, require_tree, scan
from rootman.upgrade import Options, UpgradeResult, upgrade
from rootman.usage import refuse_in_use
from rootman.verify import Difference, Verdict, verdict, verify_tree
from tests.builders import build

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from tests.builders import Tree

PUBLISHED = "2026-11-20T17:00:00Z"


@dataclass(slots=True)
class Listener:
    """A reporter that remembers."""

    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def progress(self, done: int, total: int) -> None:
        del done, total

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Lab:
    """The store and the repository in the directory ``home``, and where their trees came from."""

    def __init__(self, home: Path | str, *, name: str = "olpc") -> None:
        self.home = Path(home)
        self.name = name
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

    def source(self, version: int) -> Path:
        """The directory that ``version`` was published from."""
        return self.home / f"source.{version}"

    def tree(self, version: int) -> Path:
        return self.store / f"{self.name}.{version}"

    def spare(self, version: int) -> Path:
        return self.control / f"staging/spare.{version}/root"

    def link(self, name: str) -> str:
        """Where ``current`` or ``previous`` leads."""
        return os.readlink(self.store / name)

    def init(self, fs: Fs | None = None) -> None:
        make_store(str(self.store), fs or RealFs(), Settings(self.name))

    def adopt(self, tree: Path, version: int, fs: Fs | None = None) -> bool:
        with session(str(self.store), fs or RealFs(), self.heard, forks=1) as opened:
            return adopt(opened, str(tree), version)

    def publish(self, version: int, tree: Tree | None = None, fs: Fs | None = None) -> PublishResult:
        """Publish ``tree``, made here, or what is at ``source(version)`` already."""
        if tree is not None:
            build(self.source(version), tree)
        return publish(
            str(self.source(version)),
            str(self.repo),
            Publication(version, name=self.name, timestamp=PUBLISHED),
            fs=fs or RealFs(),
        )

    def upgrade(
        self, version: int, fs: Fs | None = None, options: Options | None = None, *, forks: int = 1
    ) -> UpgradeResult:
        with (
            session(str(self.store), fs or RealFs(), self.heard, forks=forks) as opened,
            Repository.open(f"{self.repo}/releases/{version}.json") as repository,
        ):
            return upgrade(opened, repository, options or Options())

    def rollback(self, to: int | None = None, fs: Fs | None = None) -> None:
        with session(str(self.store), fs or RealFs(), self.heard, forks=1) as opened:
            state = scan(opened.store)
            Executor(opened.store, opened.fs, self.heard, state).run(plan_rollback(state, to))

    def prune(self, *versions: int, keep: int = 2, fs: Fs | None = None) -> None:
        with session(str(self.store), fs or RealFs(), self.heard, forks=1) as opened:
            state = scan(opened.store)
            plan = plan_prune(state, keep, versions)
            for step in plan:
                if isinstance(step, DeleteTree):
                    refuse_in_use(opened.store.path, f"{self.name}.{step.version}")
            Executor(opened.store, opened.fs, self.heard, state).run(plan)

    def pin(self, version: int, fs: Fs | None = None, *, pinned: bool = True) -> None:
        with session(str(self.store), fs or RealFs(), self.heard, forks=1) as opened:
            state = scan(opened.store)
            plan = plan_pin(state, version, pinned=pinned)
            Executor(opened.store, opened.fs, self.heard, state).run(plan)

    def repair(self, version: int, fs: Fs | None = None) -> RepairResult:
        with session(str(self.store), fs or RealFs(), self.heard, forks=1) as opened:
            tree = require_tree(scan(opened.store), version)
            origin = Repository.open(str(self.repo)) if self.repo.exists() else NoOrigin()
            return repair_tree(opened, tree, Objects(opened.fs, opened.store.objects, origin))

    def look(self, fs: Fs | None = None) -> StoreState:
        """Return the state as ``rootman status`` does, what was interrupted recovered."""
        with look(str(self.store), lambda: fs or RealFs(), self.heard) as view:
            return view.state

    def scan(self) -> StoreState:
        """Return the state as it is on the disk."""
        with open_store(str(self.store)) as store:
            return scan(store)

    def verify(self, version: int) -> list[Difference]:
        with open_store(str(self.store)) as store:
            return verify_tree(store, require_tree(scan(store), version))

    def verdict(self, version: int) -> Verdict:
        return verdict(self.verify(version))
