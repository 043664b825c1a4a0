"""Metadata that are almost sound, one document or another changed as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootman.repo import refresh
from rootman.repo.metadata import SIGNED_AT
from tests.fuzz.metadata import SEEDS, check_metadata
from tests.fuzz.mutation import mutate_document
from tests.fuzz.test_mutants import SEARCH

if TYPE_CHECKING:
    from collections.abc import Callable

ANYTHING = (st.sampled_from(SEEDS), st.integers(0, 2**32))


def check(data: bytes, seed: int) -> None:
    check_metadata(mutate_document(data, 1 << 16, seed, lambda blind, _: blind[: seed % 4096]))


@settings(max_examples=1200)
@given(*ANYTHING)
def test_metadata_that_were_changed_are_refused_or_kept_as_they_are(data: bytes, seed: int) -> None:
    """TU-4, EX-4."""
    check(data, seed)


def _any_time_of_signing(client: refresh._Client) -> object:
    """Take what a timestamp says of when it was signed for a number."""
    return min(client._trusted_set.timestamp.unrecognized_fields.get(SIGNED_AT, 0), 0)


def _any_hash(client: refresh._Client) -> object:
    """Take it for granted that there are targets."""
    return client._trusted_set.targets.targets["releases/7.json"]


@pytest.mark.parametrize(
    ("name", "broken"), [("signed_at", _any_time_of_signing), ("targets", _any_hash)]
)
def test_a_broken_reader_of_metadata_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[[refresh._Client], object]
) -> None:
    monkeypatch.setattr(refresh._Client, name, property(broken))

    with pytest.raises((TypeError, KeyError, AttributeError)):
        SEARCH(given(*ANYTHING)(check))()
