"""What differs between the configuration of a tree and its defaults, or that of another tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootman.difference import PathDifference, differing
from rootman.errors import NotFound, RootmanError
from rootman.execute import explained
from rootman.manifest import format_line, parse_line, path_field
from rootman.merge.decision import has_change, is_same
from rootman.merge.local import Lines, describe_changes, find_changes, sealed_config
from rootman.verify import open_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.manifest import Entry
    from rootman.merge.paths import ConfigPaths
    from rootman.session import Session
    from rootman.state import Tree
    from rootman.store import Store

LinesByPath = dict[bytes, bytes]


def local_differences(store: Store, tree: Tree) -> Iterator[PathDifference]:
    """Yield where the configuration of ``tree`` is not the default of its release (MG-13).

    Raises:
        NotFound: the tree is of no release.
        RootmanError, OSError: it cannot be read.
    """
    defaults, here = _configuration(store, tree, _config(store, tree))
    yield from _differences(defaults, here)


def differences_between(store: Store, old: Tree, new: Tree) -> Iterator[PathDifference]:
    """Yield where the configuration of two trees, as they are now, is not the same (MG-13).

    Raises:
        NotFound: one of them is of no release.
        RootmanError, OSError: one cannot be read.
    """
    config = _config(store, old).joined(_config(store, new))
    yield from _differences(*(_configuration(store, tree, config)[1] for tree in (old, new)))


def told_behind(opened: Session, old: Tree | None, new: Tree | None) -> tuple[PathDifference, ...]:
    """Return the local configuration that only ``old`` has; a switch does not fail of that."""
    if old is None or new is None:
        return ()
    try:
        with explained(f"{old.name}: its configuration"):
            return tuple(left_behind(opened.store, old, new))
    except RootmanError as error:
        opened.reporter.warn(f"what is left behind is not known: {error}")
        return ()


def left_behind(store: Store, old: Tree, new: Tree) -> list[PathDifference]:
    """Return the local configuration of ``old`` that is not in ``new`` as it is there (MG-16).

    Raises:
        RootmanError, OSError: one of them cannot be read.
    """
    with open_tree(store, old) as (_, record):
        config = sealed_config(record)
    if not config:
        return []
    defaults, here = _configuration(store, old, config)
    there = _configuration(store, new, config)[1]
    return [
        one
        for one in _differences(defaults, here)
        if not has_change(*(_parsed(side, one.path) for side in (defaults, here, there)))
    ]


def _parsed(lines: LinesByPath, path: bytes) -> Entry | None:
    return parse_line(lines[path]) if path in lines else None


def _config(store: Store, tree: Tree) -> ConfigPaths:
    with open_tree(store, tree) as (_, record):
        config = sealed_config(record)
    if not config:
        raise NotFound(
            f"{tree.name}: its release names no configuration",
            hint="rootman publish --config /etc",
        )
    return config


def _configuration(
    store: Store, tree: Tree, config: ConfigPaths
) -> tuple[LinesByPath, LinesByPath]:
    """Return the lines of a tree's configuration: as it was sealed, and as it is."""
    with open_tree(store, tree) as (root, record):
        with record.manifest() as stream:
            lines = Lines.of_config(stream, config)
        defaults = {path: lines.line(path) for path in lines if config.covers(path)}
        here = dict(defaults)
        changes = describe_changes(root, find_changes(root, record, config))
    for path, entry in changes.items():
        if entry is None:
            here.pop(path, None)
        else:
            here[path] = format_line(entry)
    return defaults, here


def _differences(old: LinesByPath, new: LinesByPath) -> Iterator[PathDifference]:
    for path in sorted(old.keys() | new.keys(), key=path_field):
        before, after = old.get(path), new.get(path)
        if before is None:
            yield PathDifference(path, "added")
        elif after is None:
            yield PathDifference(path, "removed")
        elif before != after and not is_same(parse_line(before), parse_line(after)):
            yield PathDifference(path, "changed", differing(before, after))
