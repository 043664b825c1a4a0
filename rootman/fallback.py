"""A tree to go back to: of the same release as what runs, without what was changed in that.

It is what an upgrade to the release would have made: the release, and the local configuration.
So going back leaves nobody without his passwords and his network (decisions/0023).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.admission import check_proven, next_number
from rootman.alike import alike
from rootman.boot.states import read_state_record
from rootman.bundling import SealedRelease, telling_of_repositories
from rootman.choice import choose
from rootman.errors import Refused
from rootman.execute import Executor, explained
from rootman.manifest import field_path
from rootman.merge.local import sealed_config
from rootman.plan import plan_way_back
from rootman.repo.repository import Repository
from rootman.session import read_state
from rootman.state import require
from rootman.survey import Check
from rootman.upgrade import Options, Order, build, check_device, chosen_bundles
from rootman.verify import open_tree

if TYPE_CHECKING:
    from rootman.names import TreeNumber
    from rootman.session import Session
    from rootman.state import StoreState, Tree


@dataclass(frozen=True, slots=True)
class Fallback:
    """The tree that a rollback goes to; ``is_new`` says that it was made for that.

    ``was`` is what ``previous`` led to before, where that was another.
    """

    number: TreeNumber
    is_new: bool = False
    was: TreeNumber | None = None


def secure_fallback(
    opened: Session, number: TreeNumber, repository: Repository | None = None
) -> Fallback:
    """Have ``previous`` lead to a clean tree of the release that ``number`` is of (UL-4).

    ``repository`` is for what was changed, and is nowhere in the store as it was.

    Raises:
        Refused: ``number`` is not current, or has not proved that it works.
        NotFound: it is of no release; or what was changed in it is nowhere as it was.
        RootmanError: it failed; the store is then as it was.
    """
    state = read_state(opened)
    tree = require(state, number)
    if number != state.current:
        raise Refused(
            f"{tree.name} is not what boots next: what is changed in it would not be there",
            hint="reboot, or rootman rollback",
        )
    check_proven(state)
    with explained(f"a fallback for {tree.name}"):
        found = _clean(opened, state, tree)
        is_new = found is None
        target = _make(opened, state, tree, repository) if found is None else found
        if found is not None:
            plan = plan_way_back(state, target)
            Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    was = None if state.previous in (target, None) else state.previous
    return Fallback(target, is_new, was)


def _clean(opened: Session, state: StoreState, tree: Tree) -> TreeNumber | None:
    """Return a tree that is alike and in which nothing but configuration was changed."""
    for one in alike(state, tree):
        if state.is_bad(one.number) or not _is_clean(opened, one):
            continue
        if _generation(opened, one) == _generation(opened, tree):
            return one.number
    return None


def _generation(opened: Session, tree: Tree) -> int:
    """Return which state a tree has: with another one it is none to go back to."""
    return read_state_record(opened.store, tree.number).generation


def _is_clean(opened: Session, tree: Tree) -> bool:
    with open_tree(opened.store, tree) as (root, record):
        config = sealed_config(record)
        drift = Check(root, record, record.digests(), forks=opened.forks).drift()
    return all(config.covers(field_path(one.field)) for one in drift)


def _make(
    opened: Session, state: StoreState, tree: Tree, repository: Repository | None
) -> TreeNumber:
    """Make such a tree, of what is in the store as far as that goes; return its number."""
    number = next_number(state, tree.number.version)
    with ExitStack() as stack:
        record = stack.enter_context(Repository(SealedRelease(opened.store, tree)))
        source = repository or record
        release = source.read_release(tree.number.version)
        check_device(state, release, allow_downgrade=False)
        choice = choose(release, chosen_bundles(state))
        if tree.seal is not None and choice.manifests != tree.seal.parts:
            raise Refused(f"{tree.name} is another in {source.source.location}")
        order = Order(release, choice, Options(), is_fallback=True)
        with telling_of_repositories():
            build(opened, source, order, state, stack, number=number)
    return number
