"""Factory reset: the version that is current, anew, as its release has it.

It is another tree of that version, made of what is here, and the one that was current stays as
it is: to undo it is to go back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rootman.bundling import install_of_current
from rootman.choice import choose
from rootman.session import read_state
from rootman.upgrade import Order, chosen_bundles

if TYPE_CHECKING:
    from rootman.release import Release
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.upgrade import Options, UpgradeResult


def reset(
    opened: Session, repository: Repository | None, *, state: bool, options: Options
) -> UpgradeResult:
    """Make a tree current that is as its release has it; with ``state`` the state begins anew, too.

    ``repository`` is for what was changed in the tree that is current, or damaged (RS-1).

    Raises:
        NotFound: what was changed can be had nowhere, or the tree that is current is of no release.
        RootmanError: refused, or failed; the store is then as it was.
    """
    began = time.monotonic()
    here = read_state(opened)

    def order(release: Release) -> Order:
        choice = choose(release, chosen_bundles(here))
        return Order(release, choice, options, anew=True, new_state=state)

    return install_of_current(opened, repository, order, here, began=began)
