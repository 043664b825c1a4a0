"""Which file of the old tree a new one is made of."""

from __future__ import annotations

import pytest

from rootman.packs.pairing import Content, OldFiles


def content(path: str, size: int) -> Content:
    return Content(path.encode(), size, path)


@pytest.mark.parametrize(
    ("old", "new", "source"),
    [
        # The same path, however large.
        ({"etc/x": 100}, ("etc/x", 100), "etc/x"),
        ({"etc/x": 1, "etc/y": 100}, ("etc/x", 100), "etc/x"),
        ({"lib/a.so.1": 9, "lib/a.so.2": 100}, ("lib/a.so.1", 100), "lib/a.so.1"),
        # Another version in the name, or in that of a directory.
        ({"lib/libx.so.1.2.3": 100}, ("lib/libx.so.1.2.4", 110), "lib/libx.so.1.2.3"),
        ({"lib/libx.so.9": 100}, ("lib/libx.so.10", 110), "lib/libx.so.9"),
        ({"lib/perl/5.36.0/x.pm": 100}, ("lib/perl/5.36.1/x.pm", 90), "lib/perl/5.36.0/x.pm"),
        ({"lib/modules/6.1/a.ko": 100}, ("lib/modules/6.2/a.ko", 90), "lib/modules/6.1/a.ko"),
        # Nothing there looks like it.
        ({"lib/liby.so.1": 100}, ("lib/libx.so.1", 100), None),
        ({"lib/libx.so": 100}, ("lib/libx.so.1", 100), None),
        ({}, ("etc/x", 100), None),
        # Of the same name elsewhere, if nothing is closer.
        ({"old/place/x.conf": 100}, ("new/place/x.conf", 100), "old/place/x.conf"),
        ({"a/x1": 100, "b1/x": 100}, ("b2/x", 100), "b1/x"),
        ({"a/x7": 100, "z/x": 100}, ("b/x3", 100), "a/x7"),
        # The nearest in size, then the first by its path.
        ({"a/x-1": 50, "a/x-2": 90, "a/x-3": 200}, ("a/x-4", 100), "a/x-2"),
        ({"a/x-1": 110, "a/x-2": 90}, ("a/x-4", 100), "a/x-1"),
        # Much larger or smaller is another kind of file, if it has another path.
        ({"a/x": 25}, ("b/x", 100), "a/x"),
        ({"a/x": 24}, ("b/x", 100), None),
        ({"a/x": 400}, ("b/x", 100), "a/x"),
        ({"a/x": 401}, ("b/x", 100), None),
        ({"1/x": 500, "a/x": 300}, ("2/x", 100), "a/x"),
    ],
)
def test_the_source_is_the_most_similar(
    old: dict[str, int], new: tuple[str, int], source: str | None
) -> None:
    """PK-3: and any choice is right, as a source is only where bytes are taken from."""
    files = OldFiles(content(path, size) for path, size in old.items())

    found = files.source(content(*new))

    assert (found.path.decode() if found else None) == source
