"""A test that cannot run is skipped on a developer's machine and fails where CI runs it."""

from __future__ import annotations

import pytest

from tests import capabilities


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> str:
    def probe() -> None:
        raise OSError("none of it here")

    monkeypatch.setattr(capabilities, "PROBES", {"magic": probe})
    capabilities.lack.cache_clear()
    return "magic"


def test_lack_is_a_skip_for_a_developer(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="needs magic: none of it here"):
        capabilities.require(lacking)


def test_lack_is_a_failure_on_ci(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="needs magic: none of it here"):
        capabilities.require(lacking)


def test_what_is_there_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "PROBES", {"air": lambda: None})
    capabilities.lack.cache_clear()

    capabilities.require("air")
