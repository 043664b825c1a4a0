"""Ways to get it wrong: each makes a promise void that a test then has to find broken.

A mutant is applied for as long as its context lasts. Those of the order are invisible
on a machine that stays up and are found on the trace; the others are found on the disk.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from rootman import execute, links, plan, recovery, retirement, upgrade
from rootman.fsops import RealFs
from rootman.merge.staging import ConfigStage
from rootman.names import CURRENT, PREVIOUS
from rootman.removal import remove_tree
from rootman.steps import Discard, DropRecord, Exchange, SealTree
from rootman.store import STAGE_ROOT
from rootman.switching import plan_switch, plan_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.state import StoreState, Tree
    from rootman.steps import Plan
    from rootman.store import Store
    from tests.fault.faulty import Call

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """``drops`` are methods of Fs that do nothing; ``breaks`` is the rule or id found broken."""

    name: str
    breaks: str
    patch: Callable[[Patch], None] = lambda _: None
    drops: frozenset[str] = field(default=frozenset())
    tap: Callable[[Call], None] = lambda _: None

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            yield

    @contextmanager
    def in_command(self) -> Iterator[None]:
        """Apply it to a command line run in this process, which makes its own ``RealFs``."""
        with self.applied(), pytest.MonkeyPatch.context() as patch:
            for op in self.drops:
                patch.setattr(RealFs, op, lambda *_, **__: None)
            yield


class _Dropping:
    def __init__(self, fs: Fs, drops: frozenset[str]) -> None:
        self._fs = fs
        self._drops = drops

    def __getattr__(self, op: str) -> Any:  # noqa: ANN401 - whatever Fs has
        return (lambda *_, **__: None) if op in self._drops else getattr(self._fs, op)


def dropping(fs: Fs, drops: frozenset[str]) -> Fs:
    """Return ``fs`` with methods that do nothing."""
    return cast("Fs", _Dropping(fs, drops))


# --- of the order, found on the trace ---------------------------------------------------


def _no_sync_in(module: Any, function: str) -> Callable[[Patch], None]:  # noqa: ANN401 - a module
    """Have no syncfs in one function that gets ``fs`` first."""
    original = getattr(module, function)

    def mutated(fs: Fs, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - passed through
        return original(dropping(fs, frozenset({"syncfs"})), *rest, **more)

    return lambda patch: patch.setattr(module, function, mutated)


def _put_without_sync(patch: Patch) -> None:
    original = ConfigStage.put

    def put(self: ConfigStage) -> None:
        self._fs = dropping(self._fs, frozenset({"syncfs"}))
        original(self)

    patch.setattr(ConfigStage, "put", put)


def _seal_without_publishing(patch: Patch) -> None:
    quiet = SimpleNamespace(publish=lambda *_: None, point=links.point, exchange=links.exchange)
    patch.setattr(execute, "links", quiet)


def _switch_without_publishing(patch: Patch) -> None:
    def exchange(fs: Fs, store: Store) -> None:
        fs.exchange(CURRENT, PREVIOUS, source_fd=store.fd, target_fd=store.fd)

    patch.setattr(links, "exchange", exchange)


def _delete_link(patch: Patch) -> None:
    def replace(fs: Fs, store: Store, link: str, tree: str) -> None:
        if os.path.lexists(f"/proc/self/fd/{store.fd}/{link}"):
            fs.unlink(link, dir_fd=store.fd)
        fs.symlink(tree, link, dir_fd=store.fd)

    patch.setattr(links, "_replace", replace)


def _leave_temporary(patch: Patch) -> None:
    def replace(fs: Fs, store: Store, link: str, tree: str) -> None:
        """Rename a second name of one inode: where that inode is already, nothing happens."""
        fs.symlink(tree, "link", dir_fd=store.staging)
        fs.link("link", "link2", source_fd=store.staging, target_fd=store.staging)
        fs.rename("link2", link, source_fd=store.staging, target_fd=store.fd)

    patch.setattr(links, "_replace", replace)


def _delete_under_its_name(patch: Patch) -> None:
    def delete(fs: Fs, store: Store, tree: Tree) -> None:
        remove_tree(fs, tree.name.encode(), dir_fd=store.fd)
        remove_tree(fs, str(tree.number).encode(), dir_fd=store.trees)

    patch.setattr(retirement, "delete_tree", delete)


def _delete_before_name_is_gone(patch: Patch) -> None:
    patch.setattr(retirement, "publish", lambda *_: None)


def _name_before_record(patch: Patch) -> None:
    original = execute.Executor._seal_tree

    def seal(self: execute.Executor, step: SealTree) -> None:
        """Put the tree into its place first, and take the record's later rename for the tree's."""
        fs, store = self._fs, self._store
        stage = f"building.{step.number}"
        fs.syncfs(store.fd)
        fs.move(
            f"{stage}/{STAGE_ROOT}",
            self._state.name_of(step.number),
            source_fd=store.staging,
            target_fd=store.fd,
        )
        fs.move(f"{stage}/seal", str(step.number), source_fd=store.staging, target_fd=store.trees)
        links.publish(fs, store)

    del original
    patch.setattr(execute.Executor, "_seal_tree", seal)


def _set_current_by_rename(patch: Patch) -> None:
    def exchange(fs: Fs, store: Store) -> None:
        new = os.readlink(PREVIOUS, dir_fd=store.fd)
        links.point(fs, store, CURRENT, new)

    patch.setattr(links, "exchange", exchange)


ORDER: Final = (
    Mutant("no sync at all", "sync before name", drops=frozenset({"syncfs", "freeze_thaw"})),
    Mutant("no sync before the seal", "sync before name", drops=frozenset({"syncfs"})),
    Mutant(
        "no sync before a spare gets its name",
        "sync before name",
        _no_sync_in(retirement, "_keep_as_spare"),
    ),
    Mutant(
        "no sync before configuration takes its place",
        "sync before name",
        _put_without_sync,
    ),
    Mutant(
        "no fsync of the directory after the rename",
        "fsync after name",
        drops=frozenset({"fsync"}),
    ),
    Mutant("no freezing", "freeze after name", drops=frozenset({"freeze_thaw"})),
    Mutant(
        "links exchanged before the new tree is durable",
        "durable before link",
        _seal_without_publishing,
    ),
    Mutant("a link deleted and made again instead of renamed", "rename over link", _delete_link),
    Mutant(
        "deletion before the switch is durable",
        "switch before deletion",
        _switch_without_publishing,
    ),
    Mutant(
        "a tree changed before its name is durably gone",
        "name gone before change",
        _delete_before_name_is_gone,
    ),
    Mutant("a tree deleted under its name", "name gone before change", _delete_under_its_name),
    Mutant("a temporary link left behind", "no litter", _leave_temporary),
    Mutant("a name before its record", "record before name", _name_before_record),
    Mutant("current changed by a rename", "previous first", _set_current_by_rename),
)


# --- of the state, found on the disk ----------------------------------------------------


def _switch_before_seal(patch: Patch) -> None:
    original = plan.plan_upgrade

    def mutated(*arguments: Any, **more: Any) -> Plan:  # noqa: ANN401 - passed through
        steps = list(original(*arguments, **more))
        seal = next(index for index, step in enumerate(steps) if isinstance(step, SealTree))
        steps.insert(seal + 3, steps.pop(seal))
        return tuple(steps)

    patch.setattr(upgrade, "plan_upgrade", mutated)


def _links_before_boot_state(patch: Patch) -> None:
    original = plan_trial

    def mutated(state: StoreState, number: TreeNumber) -> Plan:
        steps = original(state, number)
        return (*steps[1:], *steps[:1])

    patch.setattr(plan, "plan_trial", mutated)


def _recovery_without_trial(patch: Patch) -> None:
    patch.setattr(recovery, "finish_switch", plan_switch)


def _recovery_without(*kinds: type) -> Callable[[Patch], None]:
    """Have a recovery that leaves steps of these kinds out."""
    original = recovery.plan_recovery

    def mutated(state: StoreState) -> Plan:
        return tuple(step for step in original(state) if type(step) not in kinds)

    return lambda patch: patch.setattr(recovery, "plan_recovery", mutated)


def _write_through(call: Call) -> None:
    """Change a file of the new tree through the inode that it shares, before it is replaced."""
    path = call.paths[0]
    if call.op == "unlink" and path.endswith("building.3/root/etc/motd"):
        with open(path, "ab") as shared:
            shared.write(b"written through")


def _chmod_through(call: Call) -> None:
    path = call.paths[0]
    if call.op == "unlink" and path.endswith("building.3/root/etc/motd"):
        os.chmod(path, 0o600)


def _incomplete(call: Call) -> None:
    """Lose a file of the new tree before it gets its name."""
    if call.op == "move" and call.paths[1].endswith("/store/olpc.3"):
        os.unlink(f"{call.paths[0]}/usr/lib/libm")


STATE: Final = (
    Mutant("a link deleted and made again instead of renamed", "TR-1", _delete_link),
    Mutant("a temporary link left behind", "TR-1", _leave_temporary),
    Mutant("links exchanged before the new tree is sealed", "S2", _switch_before_seal),
    Mutant("recovery leaves orphans", "TR-2", _recovery_without(DropRecord)),
    Mutant("recovery leaves stages", "TR-2", _recovery_without(Discard)),
    Mutant("recovery does not finish a switch", "TR-1", _recovery_without(Exchange)),
    Mutant("links to a tree that is not on trial yet", "BT-10", _links_before_boot_state),
    Mutant("recovery switches without a trial", "BT-10", _recovery_without_trial),
    Mutant("a shared inode written", "S5", tap=_write_through),
    Mutant("the mode of a shared inode changed", "S5", tap=_chmod_through),
    Mutant("an incomplete tree named", "S1", tap=_incomplete),
)
