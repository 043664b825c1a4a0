"""What the commands have in common that show the bundles of a release."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from cli.options import looking, real_fs
from cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.finding import Offer
    from rootman.release import Bundle
    from rootman.session import Session
    from rootman.state import StoreState


class Asked(NamedTuple):
    """What somebody asks of: the store, what is in it, and the bundles on offer."""

    opened: Session
    state: StoreState
    offer: Offer


@contextmanager
def offered(
    rootfs: str, command: str, repository: str | None, mirrors: tuple[str, ...], *, insecure: bool
) -> Iterator[Asked]:
    """Open the bundles of ``repository``, None for those of the tree that is current.

    Raises:
        RootmanError: they cannot be read, or are not to be trusted.
    """
    from rootman.finding import read_offer
    from rootman.repo.repository import Repository
    from rootman.repo.trusted import Vetting
    from rootman.session import Session

    with ExitStack() as stack:
        view = stack.enter_context(looking(rootfs, command))
        reporter = stack.enter_context(Progress(command))
        opened = Session(view.store, real_fs(), reporter, 1)
        source = None
        if repository is not None:
            vet = Vetting(view.store, reporter, is_insecure=insecure)
            source = stack.enter_context(Repository.open(repository, mirrors, vet=vet))
        yield Asked(opened, view.state, read_offer(opened, view.state, source, stack))


def document(offer: Offer, bundle: Bundle) -> dict[str, object]:
    """Return a bundle for scripts; ``here`` is ``chosen``, ``included`` or ``absent``."""
    return {
        "name": bundle.name,
        "here": offer.presence(bundle),
        "includes": list(bundle.includes),
        "description": bundle.description,
        "entries": bundle.entries,
        "size": bundle.size,
        "manifest": bundle.manifest,
    }
