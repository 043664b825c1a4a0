"""What bundles there are, and which of them have a path (BU-11)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rootman.bundling import SealedRelease
from rootman.comparison import lines
from rootman.errors import NotFound
from rootman.manifest import encode, line_path
from rootman.names import BASE
from rootman.objects import Objects
from rootman.repo.repository import Repository
from rootman.room import room_of
from rootman.seeding import trees_at_hand
from rootman.store import require_tree
from rootman.supply import Supply, parts_of
from rootman.wanted import CompressedManifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.release import Bundle, Release
    from rootman.session import Session
    from rootman.state import Seal, StoreState
    from rootman.supply import OldTree

Presence = Literal["chosen", "included", "absent"]


@dataclass(frozen=True, slots=True)
class Offer:
    """The bundles of a release, and what the tree that is current has of them, if there is one."""

    release: Release
    repository: Repository
    seal: Seal | None

    def presence(self, bundle: Bundle) -> Presence:
        """Return whether the tree that is current has ``bundle``, and why."""
        if self.seal is None or bundle.name not in self.seal.parts:
            return "absent"
        is_chosen = bundle.name in self.seal.bundles
        return "chosen" if is_chosen else "included"

    def bundle(self, name: str) -> Bundle:
        """Return the bundle ``name``.

        Raises:
            NotFound: there is none.
        """
        found = self.release.bundle(name)
        if found is None:
            there = ", ".join(one.name for one in self.release.bundles)
            title = f"{self.release.name}.{self.release.version}"
            raise NotFound(f"{title} has no bundle {name}", hint=f"there are: {there}")
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A path of a bundle, as it is encoded in a manifest, with its slash at the beginning."""

    bundle: Bundle
    path: str


def read_offer(
    opened: Session, state: StoreState, repository: Repository | None, stack: ExitStack
) -> Offer:
    """Return what ``repository`` offers to this store; None is the tree that is current.

    That is the release which the user named, else that of the tree that is current, from
    which bundles can be added, else the newest.

    Raises:
        NotFound: nothing is current, or it is of no release; or the repository has none.
        RootmanError: it cannot be read.
    """
    current = state.sealed(state.current)
    seal = current.seal if current is not None else None
    if repository is None:
        tree = require_tree(state, None)
        record = stack.enter_context(Repository(SealedRelease(opened.store, tree)))
        return Offer(record.read_release(tree.number.version), record, seal)
    version = repository.named_version
    if version is None and current is not None:
        here = current.number.version
        version = here if here in repository.versions() else None
    release = repository.chosen_release() if version is None else repository.read_release(version)
    return Offer(release, repository, seal)


def search(
    opened: Session, state: StoreState, offer: Offer, wanted: str
) -> Iterator[Found | Bundle]:
    """Yield the paths of bundles that are ``wanted``, or else have it in their last name.

    A bundle itself is yielded where its manifest is not at hand.

    Raises:
        RootmanError: a manifest cannot be had, or is not what it should be.
    """
    with ExitStack() as trees:
        olds = trees_at_hand(opened.store, state, trees)
        for bundle in sorted(offer.release.bundles, key=lambda one: (one.name != BASE, one.name)):
            with ExitStack() as stack:
                manifest = _manifest(opened, olds, offer, bundle, stack)
                if manifest is None:
                    yield bundle
                    continue
                yield from [Found(bundle, path) for path in _matching(manifest, wanted)]


def _manifest(
    opened: Session, olds: list[OldTree], offer: Offer, bundle: Bundle, stack: ExitStack
) -> CompressedManifest | None:
    known = parts_of(olds, bundle.name)
    if isinstance(offer.repository.source, SealedRelease):
        known = [one for one in known if one.digest == bundle.manifest]
        if not known:
            return None
    objects = Objects(opened.fs, opened.store.objects, offer.repository)
    supply = Supply(opened.fs, opened.reporter, offer.repository, objects, bundle)
    file = supply.passing_manifest(known, room=room_of(opened.store.fd).free_bytes)
    return CompressedManifest(stack.enter_context(file), bundle.manifest)


def _matching(manifest: CompressedManifest, wanted: str) -> list[str]:
    """Return the paths that match, once the whole manifest is known to be the right one."""
    text = os.fsencode(wanted)
    is_path = text.startswith(b"/")
    pattern = encode(text.rstrip(b"/") or b"/")
    found = []
    stream = manifest.verified()
    with stream.verifying(manifest.digest, f"manifest {manifest.digest}"):
        for line in lines(stream):
            path = line_path(line).removeprefix(b".") or b"/"
            if path == pattern if is_path else pattern in path[path.rfind(b"/") + 1 :]:
                found.append(path.decode("ascii"))
    return found
