"""The index of a repository: which releases there are, as a web server lists no folder. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rootman.document import FORMAT, Fields, check_format, decode, encode
from rootman.names import MAX_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEYS: Final = frozenset({"format", "versions"})


def parse_index(data: bytes, origin: str) -> list[int]:
    """Return the versions that a ``releases/index.json`` lists, in ascending order.

    Raises:
        InvalidInput: ``data`` is no index of this format.
    """
    document = decode(data, origin, "index")
    check_format(document, origin)
    fields = Fields(origin, "", document, _KEYS)
    versions = fields.numbers("versions", 1, MAX_VERSION)
    if any(one >= two for one, two in pairwise(versions)):
        raise fields.wrong("versions", "must be in ascending order")
    return versions


def serialise_index(versions: Iterable[int]) -> bytes:
    """Return the ``releases/index.json`` that lists ``versions``."""
    return encode({"format": FORMAT, "versions": sorted(set(versions))})
