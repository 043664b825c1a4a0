"""Which releases and trees a store takes, and under which number. Pure.

What would break a promise is refused before the first step (S6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootman.errors import InvalidInput, Refused
from rootman.names import LINKS, TreeNumber, tree_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from rootman.choice import Choice
    from rootman.release import Release
    from rootman.state import StoreState


def check_boot(state: StoreState, number: TreeNumber, *, retry_bad: bool = False) -> None:
    """Refuse a tree that failed here before, whether it is still here or not (BT-13).

    Raises:
        Refused: it is bad.
    """
    if state.is_bad(number) and not retry_bad:
        again = "" if state.tree(number) is None else f"rootman rollback --to {number} "
        raise Refused(
            f"{state.name_of(number)} is bad: it did not prove itself here",
            hint=f"to try it again: {again}--retry-bad",
        )


def check_proven(state: StoreState) -> None:
    """Refuse to replace the way back by a tree that has not proved itself (BT-13).

    Raises:
        Refused: the current tree is on trial.
    """
    if state.boot is not None and state.current is not None:
        name = state.name_of(state.current)
        if name == state.boot.pending:
            raise Refused(
                f"{name} is on trial and not marked good yet",
                hint=f"wait for the health checks, or: rootman boot mark-good {state.current}",
            )


def refuse_obstacles(state: StoreState, *names: str) -> None:
    """Refuse to go on where something else has one of these names.

    Raises:
        Refused: it is named.
    """
    for name in names:
        if name in state.obstacles:
            wanted = "a symlink" if name in LINKS else "a directory"
            raise Refused(f"{name} is not {wanted}", hint="move it out of the way")


def check_release(
    state: StoreState,
    release: Release,
    *,
    hardware: Collection[str],
    allow_downgrade: bool,
    rootman_version: str,
) -> None:
    """Refuse a release that this store must not take.

    ``hardware`` holds the names under which this device goes.

    Raises:
        Refused: another OS or hardware, not newer than current, or for a newer rootman;
            or something else has the name of the tree or of a link.
    """
    title = tree_name(release.name, release.version)
    refuse_obstacles(state, *LINKS, title)
    if release.name != state.settings.os_name:
        raise Refused(
            f"{title} is another OS: this store holds {state.settings.os_name}",
            hint="give the repository of this OS",
        )
    if release.needs_newer(rootman_version):
        raise Refused(
            f"{title} needs rootman {release.minimum_rootman}, this is {rootman_version}",
            hint="update rootman first",
        )
    if release.compatible and not set(release.compatible) & set(hardware):
        known = ", ".join(sorted(hardware)) or "nothing known"
        raise Refused(
            f"{title} is for {', '.join(release.compatible)}; this device is {known}",
            hint="if that is wrong: rootman init --compatible NAME",
        )
    current = state.current
    if current is not None and release.version < current.version and not allow_downgrade:
        raise Refused(
            f"{title} is not newer than {state.name_of(current)}, which is current",
            hint="--allow-downgrade, or rootman rollback",
        )


def find_known(state: StoreState, release: Release, choice: Choice) -> TreeNumber | None:
    """Return which tree is the release's with these bundles, None where it is not here.

    Raises:
        Refused: a tree of that version has a bundle from another manifest.
        InvalidInput: a directory of that name is here that rootman did not make.
    """
    published = {bundle.name: bundle.manifest for bundle in release.bundles}
    # Of several that are alike the one that is current is not left for another.
    trees = sorted(state.of_version(release.version), key=lambda one: one.number != state.current)
    for tree in trees:
        if tree.seal is None:
            if tree.number.revision == 0:
                raise InvalidInput(
                    f"{tree.name} exists and rootman did not make it",
                    hint="move it out of the way",
                )
        elif tree.seal.parts == choice.manifests and tree.seal.bundles == choice.bundles:
            return tree.number
    for tree in state.of_version(release.version):
        if tree.seal is not None and not tree.seal.parts.items() <= published.items():
            raise Refused(
                f"{tree.name} is here with other content than this release has",
                hint=f"publish it under a new version, or remove it: rootman prune {tree.number}",
            )
    return None


def next_number(state: StoreState, version: int) -> TreeNumber:
    """Return the number of the next tree of ``version``, whose name nothing has.

    Nor had it a tree that is bad, as the new one would be, too: of the first of a version
    that is right, it has the same content (``check_boot``).
    """
    revisions = [tree.number.revision for tree in state.of_version(version)]
    number = TreeNumber(version, max(revisions) + 1 if revisions else 0)
    while state.name_of(number) in state.obstacles or (number.revision and state.is_bad(number)):
        number = TreeNumber(version, number.revision + 1)
    return number
