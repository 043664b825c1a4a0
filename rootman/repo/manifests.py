"""Whether the manifests of a release are what a device that takes it would accept.

A device may choose any of the bundles. That each with base, and all together, make the
manifest of a tree is enough: a bundle needs no directory but its own and those of base.
"""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from rootman.errors import InvalidInput, RootmanError
from rootman.names import BASE
from rootman.repo import layout
from rootman.wanted import CompressedManifest, Delta
from rootman.whole import Part, check_part, put_together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootman.release import Bundle, Release
    from rootman.repo.repository import Repository


def wrong_manifests(repository: Repository, release: Release) -> Iterator[tuple[str, RootmanError]]:
    """Yield the paths of manifests that a device would refuse, and why.

    Where it is not for one of them that they do not fit together, it is the release's path.

    Raises:
        OSError: they cannot be read.
    """
    others = [one for one in release.bundles if one.name != BASE]
    found = False
    for bundle in (release.base, *others):
        try:
            with repository.open_manifest(bundle.manifest) as file:
                manifest = CompressedManifest(file, bundle.manifest)
                if bundle.name == BASE:
                    _check_base(manifest, bundle)
                    continue
                check_part(Part(bundle, manifest))
            _check_whole(repository, release.base, [bundle])
        except RootmanError as error:
            found = True
            yield layout.manifest_path(bundle.manifest), error
            if bundle.name == BASE:
                return  # no other fits to it
    if len(others) > 1 and not found:
        try:
            _check_whole(repository, release.base, others)
        except RootmanError as error:
            yield layout.release_path(release.version), error


def _check_base(manifest: CompressedManifest, bundle: Bundle) -> None:
    """Refuse the manifest of a tree that a device would refuse, or its release misrepresents."""
    delta = Delta(manifest, None, ())
    delta.check((), entries=bundle.entries, seed_entries=0)
    size = sum(map(len, manifest.stream()))
    for what, found, said in (
        ("manifest_size", size, bundle.manifest_size),
        ("size", delta.needs.fetch_bytes, bundle.size),
    ):
        if found != said:
            raise InvalidInput(f"the release says {what} {said}, and it is {found}")


def _check_whole(repository: Repository, base: Bundle, others: Sequence[Bundle]) -> None:
    """Refuse parts that do not make the manifest of a tree."""
    with ExitStack() as stack:
        parts = []
        for one in (base, *others):
            file = stack.enter_context(repository.open_manifest(one.manifest))
            parts.append(Part(one, CompressedManifest(file, one.manifest)))
        made = stack.enter_context(TemporaryFile())
        whole = put_together(parts[0], parts[1:], made.write)
        manifest = CompressedManifest(made, whole.manifest)
        Delta(manifest, None, ()).check((), entries=whole.entries, seed_entries=0)
