"""The manifest of a tree with bundles, put together of its parts and verified on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.composition import composed, merged
from rootman.errors import InvalidManifest
from rootman.objects import verified_content
from rootman.textstream import Hashed, compress
from rootman.totals import Totals, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootman.release import Bundle
    from rootman.wanted import CompressedManifest


@dataclass(frozen=True, slots=True)
class Part:
    """A bundle and its manifest."""

    bundle: Bundle
    manifest: CompressedManifest


@dataclass(frozen=True, slots=True)
class Whole:
    """A composed manifest: its SHA-256 and bytes, its entries, and the bytes of their content."""

    manifest: str
    manifest_size: int
    entries: int
    size: int


def put_together(base: Part, others: Sequence[Part], write: Callable[[bytes], object]) -> Whole:
    """Give the manifest of the tree that has these parts, compressed, to ``write`` (BU-5).

    Raises:
        InvalidInput: a part is another than its release says, or has other lines, or two do
            not agree (BU-6).
        OSError: one cannot be read or written.
    """
    sums = Totals()
    more = counted(merged([_verified(part) for part in others]), sums)
    made = Hashed(composed(_verified(base), more))
    compress(made, write)
    for part in others:
        part.manifest.freeze()
    return Whole(
        made.digest, made.size, base.bundle.entries + sums.entries, base.bundle.size + sums.size
    )


def _verified(part: Part) -> Iterator[bytes]:
    """Yield the manifest of a part; a wrong one fails, at the latest at its end."""
    bundle = part.bundle
    what = f"manifest {bundle.manifest}"
    yield from verified_content(part.manifest.stream(), what, bundle.manifest, bundle.manifest_size)


def check_part(part: Part) -> None:
    """See to it that the lines of a bundle other than base add up to what its release says.

    Raises:
        InvalidInput: they do not, or are not in order.
    """
    stream = part.manifest.verified()
    sums = Totals()
    with stream.verifying(part.bundle.manifest, f"manifest {part.bundle.manifest}"):
        for _ in counted(merged([stream]), sums):
            pass
    for what, found, said in (
        ("manifest_size", stream.size, part.bundle.manifest_size),
        ("entries", sums.entries, part.bundle.entries),
        ("size", sums.size, part.bundle.size),
    ):
        if found != said:
            raise InvalidManifest(f"the release says {what} {said}, and it is {found}")
