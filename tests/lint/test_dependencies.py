"""Dependencies point one way, ``cli -> cow -> rootman``, and the pure modules know no syscall."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"rootman": {"cow", "cli"}, "cow": {"cli"}, "cli": set[str]()}
PURE = (
    "names", "errors", "manifest", "totals", "comparison", "composition", "edits", "delta",
    "document", "includes", "release", "bundles", "choice", "state", "alike", "switching",
    "steps", "plan", "recovery", "admission", "demand", "upkeep", "statepaths",
    "packs.format", "packs.pairing", "packs.revision", "packs.streams", "repo.index",
    "repo.layout", "boot.block", "boot.choice", "boot.commandline", "boot.first", "boot.loader",
    "boot.menu", "boot.trial", "boot.planning", "boot.superblock", "boot.verdict", "walk",
    "difference", "layer.managers",
    "merge.paths", "merge.decision", "merge.planning", "merge.accounts", "merge.rules",
    "merge.note", "live.planning",
)  # fmt: skip
IMPURE = {"os", "subprocess", "pathlib", "shutil", "rootman.fsops"}


def imports(source: str, package: str = "rootman") -> set[str]:
    """Return the full names of all modules that ``source`` imports, wherever it does so.

    ``from a import b`` gives ``a`` and ``a.b``, as ``b`` may be a module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join((*parents, *filter(None, (node.module,))))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_dependencies_point_one_way(package: str) -> None:
    for path in modules(package):
        inside = ".".join(path.relative_to(ROOT).parent.parts)
        tops = {name.partition(".")[0] for name in imports(path.read_text(), inside)}
        assert not tops & FORBIDDEN[package], f"{path.relative_to(ROOT)} imports what builds on it"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_syscall(name: str) -> None:
    found = imports((ROOT / "rootman" / f"{name.replace('.', '/')}.py").read_text())

    assert not {module for module in found if module in IMPURE or module.startswith("os.")}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_build_on_pure_ones(name: str) -> None:
    ours = {
        ".".join(path.relative_to(ROOT / "rootman").with_suffix("").parts)
        for path in modules("rootman")
    }
    found = {
        module.removeprefix("rootman.")
        for module in imports((ROOT / "rootman" / f"{name.replace('.', '/')}.py").read_text())
    }

    assert found & ours <= set(PURE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os.path", {"os.path"}),
        ("def f():\n    import subprocess", {"subprocess"}),
        ("from rootman import fsops", {"rootman", "rootman.fsops"}),
        ("from . import fsops", {"rootman", "rootman.fsops"}),
        ("from .fsops import Fs", {"rootman.fsops", "rootman.fsops.Fs"}),
        ("if TYPE_CHECKING:\n    from cow import guard", {"cow", "cow.guard"}),
    ],
)
def test_no_way_to_import_is_overlooked(source: str, expected: set[str]) -> None:
    assert imports(source) == expected


def test_relative_imports_count_from_their_package() -> None:
    assert imports("from ..fsops import Fs", "rootman.repo") == {
        "rootman.fsops",
        "rootman.fsops.Fs",
    }
