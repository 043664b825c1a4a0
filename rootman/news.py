"""Whether a repository has a newer release than the one that is current."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman import VERSION
from rootman.admission import check_boot, check_release
from rootman.names import TreeNumber
from rootman.upgrade import device_names

if TYPE_CHECKING:
    from rootman.release import Release
    from rootman.repo.repository import Repository
    from rootman.state import StoreState


@dataclass(frozen=True, slots=True)
class News:
    """The newest release there is, and the tree that is current, if any."""

    release: Release
    current: TreeNumber | None

    @property
    def is_newer(self) -> bool:
        """Whether the release is newer than what is current."""
        return self.current is None or self.release.version > self.current.version


def read_news(state: StoreState, repository: Repository, *, retry_bad: bool = False) -> News:
    """Return what ``repository`` offers to the store in ``state``.

    Raises:
        Refused: there is a newer release, which this device must not take.
        NotFound: there is no release at all.
        RootmanError: the repository cannot be read.
    """
    news = News(repository.chosen_release(), state.current)
    if news.is_newer:
        hardware = device_names(state.settings.compatible)
        check_release(
            state, news.release, hardware=hardware, allow_downgrade=False, rootman_version=VERSION
        )
        check_boot(state, TreeNumber(news.release.version), retry_bad=retry_bad)
    return news
