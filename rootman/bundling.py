"""Adding bundles to the tree that is current, and removing them: another tree, of its version.

Adding takes what is added from the repository that has the release. To remove something no
repository is needed, as the tree that is current has all that the new one has; but for what
was changed in it, or damaged.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from rootman.choice import with_added, with_removed
from rootman.errors import NotFound
from rootman.fsops import opened as opened_directory
from rootman.release import parse_release, serialise_repository
from rootman.repo import layout
from rootman.repo.repository import Repository
from rootman.repo.source import Alone, Missing
from rootman.session import read_state
from rootman.store import RELEASE_FILE, open_below, require_tree
from rootman.upgrade import Order, check_device, chosen_bundles, install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootman.release import Release
    from rootman.session import Session
    from rootman.state import StoreState, Tree
    from rootman.store import Store
    from rootman.upgrade import Options, UpgradeResult


def add_bundles(
    opened: Session, repository: Repository, names: Sequence[str], options: Options
) -> UpgradeResult:
    """Make a tree current that has the bundles ``names``, too, by ``repository`` (BU-8).

    Raises:
        NotFound: the repository has not the release that is current, or that no such bundle.
        RootmanError: refused, or failed; the store is then as it was.
    """
    began = time.monotonic()
    state = read_state(opened)
    current = require_tree(state, None)
    release = _release_of(current, repository)
    check_device(state, release, allow_downgrade=False)
    choice = with_added(release, chosen_bundles(state), names)
    return install(opened, repository, Order(release, choice, options), state, began=began)


def remove_bundles(
    opened: Session, repository: Repository | None, names: Sequence[str], options: Options
) -> UpgradeResult:
    """Make a tree current that has not the bundles ``names`` (BU-9).

    ``repository`` is for what was changed in the tree that is current, or damaged.

    Raises:
        NotFound: there is no such bundle, or what was changed can be had nowhere.
        RootmanError: refused, or failed; the store is then as it was.
    """
    began = time.monotonic()
    state = read_state(opened)

    def order(release: Release) -> Order:
        check_device(state, release, allow_downgrade=False)
        return Order(release, with_removed(release, chosen_bundles(state), names), options)

    return install_of_current(opened, repository, order, state, began=began)


def install_of_current(
    opened: Session,
    repository: Repository | None,
    order: Callable[[Release], Order],
    state: StoreState,
    *,
    began: float,
) -> UpgradeResult:
    """Install what is ordered of the release that is current: of what is here, or a repository.

    Raises:
        NotFound: something can be had nowhere, or the tree that is current is of no release.
        RootmanError: refused, or failed; the store is then as it was.
    """
    current = require_tree(state, None)
    with Repository(SealedRelease(opened.store, current)) as record:
        wanted = order(_release_of(current, repository or record))
        if repository is not None:
            return install(opened, repository, wanted, state, began=began)
        with telling_of_repositories():
            return install(opened, record, wanted, state, began=began)


@contextmanager
def telling_of_repositories() -> Iterator[None]:
    """Have what is not found in the context told with the way out: a repository that has it."""
    try:
        yield
    except NotFound as error:
        raise NotFound(str(error), hint="give a repository that has it: --from REPO") from error


def _release_of(tree: Tree, repository: Repository) -> Release:
    """Return the release that ``tree`` is of."""
    try:
        return repository.read_release(tree.number.version)
    except NotFound as error:
        raise NotFound(str(error), hint="upgrade first: rootman upgrade") from error


class SealedRelease(Alone):
    """The source that a tree is, by its record: its release, and nothing besides.

    Raises:
        NotFound: the tree was taken in, and is of no release.
    """

    is_near = True
    is_complete = False  # what there is comes from the tree itself

    def __init__(self, store: Store, tree: Tree) -> None:
        self.location = tree.name
        self._version = tree.number.version
        try:
            with (
                opened_directory(str(tree.number), dir_fd=store.trees) as record,
                open_below(RELEASE_FILE, record) as file,
            ):
                self._document = file.read()
        except FileNotFoundError as error:
            raise NotFound(f"{tree.name} is of no release, and has no defaults") from error
        self._name = parse_release(self._document, f"{tree.name}: {RELEASE_FILE}").name

    def name_of(self, path: str) -> str:
        """Return the full name of the file ``path``."""
        return f"{self.location}: {path}"

    def versions(self) -> list[int]:
        """Return the one version."""
        return [self._version]

    def read(self, path: str, limit: int) -> bytes:
        """Return the release, or what names the operating system."""
        del limit
        if path == layout.release_path(self._version):
            return self._document
        if path == layout.REPOSITORY:
            return serialise_repository(self._name)
        raise Missing(f"{self.location} has no {path}")

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Refuse: manifests and content are where a tree has them."""
        del offset
        raise Missing(f"{self.location} has no {path}")

    def close(self) -> None:
        """There is nothing to close."""
