"""The manifest of the tree that is wanted, as all that need it read it in turn."""

from __future__ import annotations

import io

import zstandard

from rootman.wanted import CompressedManifest


def test_a_stream_begins_where_the_manifest_does_whoever_read_it_meanwhile() -> None:
    """Given a stream that is asked for before another is read, both are whole."""
    content = b"#mtree\n" + b"".join(b"./%d type=dir\n" % number for number in range(1000))
    manifest = CompressedManifest(io.BytesIO(zstandard.compress(content)), "0" * 64)
    late = manifest.stream()
    assert b"".join(manifest.stream()) == content
    assert b"".join(late) == content
