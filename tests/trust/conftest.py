"""A publisher who has published twice, and a device that trusts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.trust.publishers import Device, Publisher
from tests.trust.servers import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def publisher(tmp_on_ext4: Path) -> Publisher:
    """Return a publisher with version 1, signed."""
    made = Publisher(tmp_on_ext4)
    made.publish(1)
    return made


@pytest.fixture
def device(publisher: Publisher) -> Device:
    """Return a device that trusts the publisher's first root."""
    return Device(publisher.home, publisher.root)


@pytest.fixture(params=["folder", "http"])
def place(request: pytest.FixtureRequest, publisher: Publisher) -> Iterator[str]:
    """Return where a device finds the repository: its folder, and on a real web server."""
    if request.param == "folder":
        yield str(publisher.repo)
        return
    with serve(publisher.home, publisher.home / "requests") as url:
        yield f"{url}/repo"
