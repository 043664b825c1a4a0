"""What is known of package managers, and the list of packages that a store keeps."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.difference import PathDifference
from rootman.errors import InvalidInput, NotFound, Refused
from rootman.layer.layering import open_layering
from rootman.layer.managers import APT, Packages, find_manager
from rootman.layer.record import read_layer
from rootman.manifest import HEADER, Entry, format_line
from rootman.names import TreeNumber, check_package
from rootman.plan import Seed, plan_upgrade
from rootman.seal import SealRecord, compressed
from rootman.state import Settings, StoreState
from rootman.steps import KeepKernel, Layer, Merge, Record, SaveSettings, SealTree
from rootman.uncarried import Uncarried
from rootman.upkeep import plan_layer
from tests.unit.test_plan import NEEDS, release, store

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.layer.managers import Kind

N8 = TreeNumber(8)
INFO = "var/lib/dpkg/info"


def of(*names: str) -> StoreState:
    return StoreState(Settings("olpc", layer=names), (), None, None)


def info(kind: Kind, *names: str) -> list[PathDifference]:
    return [PathDifference(f"{INFO}/{name}".encode(), kind) for name in names]


def test_a_layer_comes_after_the_configuration_and_before_the_seal() -> None:
    """LY-4: and before the loader is given what may have become another kernel."""
    state = store(7, current=7)
    steps = plan_upgrade(
        state, N8, Seed("spare", TreeNumber(7)), NEEDS, merged_from=TreeNumber(7), packages=("a",)
    )
    kinds = [type(step) for step in steps]
    at = kinds.index(Layer)

    assert kinds[at - 2 : at + 2] == [Record, Merge, Layer, SealTree]
    assert KeepKernel not in kinds
    assert str(steps[at]) == "layer a into version 8"


@pytest.mark.parametrize(
    ("known", "added", "removed", "wanted"),
    [
        ((), ("b", "a"), (), ("a", "b")),
        (("a",), ("a",), (), None),
        (("a", "b"), (), ("a",), ("b",)),
        (("a",), (), ("a",), ()),
    ],
)
def test_the_layer_changes(
    known: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    wanted: tuple[str, ...] | None,
) -> None:
    """LY-2."""
    plan = plan_layer(of(*known), added=added, removed=removed)

    assert plan == (() if wanted is None else (SaveSettings(Settings("olpc", layer=wanted)),))


def test_what_is_not_there_is_not_removed() -> None:
    """LY-2."""
    with pytest.raises(NotFound, match=r"^b is not in the layer"):
        plan_layer(of("a"), removed=("b",))


@pytest.mark.parametrize(
    "name", ["", "-y", "--yes", "a-", "a b", "./a.deb", "/a", "a/sid", "a=1", "a*", "?a", "a\n"]
)
def test_what_is_more_than_a_name_is_refused(name: str) -> None:
    """LY-2: it would be an option, a file, a pattern or a wish to remove."""
    with pytest.raises(InvalidInput, match="is no name of a package"):
        plan_layer(of(), added=(name,))


@pytest.mark.parametrize("name", ["htop", "g++", "libc6:i386", "python3.11", "NetworkManager", "a"])
def test_names_of_packages(name: str) -> None:
    """LY-2."""
    assert check_package(name) == name


def test_what_is_installed_is_known_by_names() -> None:
    """LY-5."""
    names = ("a.list", "a.md5sums", "libc6:amd64.list", "b.postinst", "format", "c++.list")
    paths = [f"{INFO}/{name}".encode() for name in names]

    assert APT.installed([*paths, b"usr/bin/x.list"]) == {"a", "libc6", "c++"}


def test_packages_that_differ_are_known_by_names() -> None:
    """LY-1: one that was removed may have left its configuration, and so its list."""
    paths = [
        *info("added", "new.list", "new.postinst", "lib:amd64.list"),
        *info("changed", "other.list", "other.md5sums", "same.list"),
        *info("removed", "gone.list", "gone.md5sums"),
        *info("changed", "kept.list"),
        *info("removed", "kept.md5sums", "kept.prerm"),
        PathDifference(b"usr/bin/x.list", "added"),
    ]

    assert APT.differing(paths) == Packages(("lib", "new"), ("gone", "kept"), ("other", "same"))


def test_a_tree_without_a_package_manager_has_none() -> None:
    """LY-3."""
    assert find_manager(lambda path: path == b"usr/bin/apt-get") is APT
    assert find_manager(lambda _: False) is None


def test_apt_says_what_nobody_asked_for() -> None:
    """LY-1."""
    states = "Package: lib\nArchitecture: all\nAuto-Installed: 1\n\nPackage: b\nAuto-Installed: 0\n"

    assert APT.automatic(states) == {"lib"}


def test_names_come_after_all_options() -> None:
    """LY-4: and what they need lands in /tmp, which is none of the tree's."""
    folders, update, download, install = APT.commands(("a", "b"))

    assert {one.split("/")[1] for one in folders[2:]} == {"tmp"}
    assert update[-1] == "update"
    assert download[-4:] == ("install", "--download-only", "a", "b")
    assert install[-4:] == ("install", "--no-download", "a", "b")


@pytest.mark.parametrize(
    "content", [b"", b"a\n./x 1\n", b"a\n./x 1 2 3\n", b"a\n./x one 2\n", b"\xff"]
)
def test_a_record_of_a_layer_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """ST-17, ST-28."""
    (tmp_path / "layer.zst").write_bytes(compressed(content))
    record_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(InvalidInput, match=r"^record/layer\.zst: damaged"):
            read_layer(SealRecord(record_fd, "record"))
    finally:
        os.close(record_fd)


def test_what_is_not_carried_is_one_line() -> None:
    """LY-1."""
    paths = tuple(PathDifference(name, "added") for name in (b"a", b"b c", b"d", b"e"))

    assert str(Uncarried(paths[:1])) == (
        "not carried over: 1 path changed outside of configuration: a"
    )
    assert str(Uncarried(paths, Packages(("x", "lib"), ("y",), ("z",)), ("x",))) == (
        r"not carried over: 4 paths changed outside of configuration: a, b\040c, d, ...; "
        "packages installed here: x (rootman layer add x keeps them); "
        "packages removed here: y; packages changed here: z"
    )


@pytest.mark.parametrize(
    ("state", "is_refused"),
    [(("/var",), True), (("/var/lib/dpkg/info",), True), (("/var/log", "/home"), False)],
)
def test_packages_in_a_state_path_are_refused(state: tuple[str, ...], *, is_refused: bool) -> None:
    """LY-3, S6: they would be those of all versions."""
    program = format_line(
        Entry(b"usr/bin/apt-get", "file", 0o755, 0, 0, 0, size=1, sha256="0" * 64)
    )
    manifest = [HEADER + program]
    wanted = replace(release(8), state=state)
    refusing = pytest.raises(Refused, match="version 8 has its packages in /var/lib/dpkg/info")

    with refusing if is_refused else nullcontext():
        layering = open_layering(("a",), wanted, manifest, None, None)
        assert layering is not None
        assert layering.missing == ("a",)
