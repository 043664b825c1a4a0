"""The installed ``rootman`` as a user types it, in a process of its own.

Out of scope: calling the core in this process (``stores``).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.builders import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.builders import Tree
    from tests.numbers import Number

ROOTMAN = Path(sys.executable).with_name("rootman")
# What is noted where nothing that is signed is asked for (TU-13).
UNVERIFIED = re.compile(
    r"rootman: (?:upgrade|check-update|search|bundle [a-z]+): note: [^\n]* is taken at its word:"
    r" (?:this store has no root of trust to verify it by \(hint: rootman trust root\.json\)|"
    r"--insecure asks for that)\r?\n"
)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended. Its output is text; bytes that are no UTF-8 are surrogates.

    ``err`` lacks the note ``UNVERIFIED``, which upgrades of most machines here begin with;
    ``is_unverified`` says that it was there.
    """

    code: int
    out: str
    err: str
    is_unverified: bool = False

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Machine:
    """A device: a store and a repository in the directory ``home``.

    Its commands are run by ``runner``, a command line that they are appended to.
    """

    home: Path
    runner: tuple[str, ...] = ()

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def repo(self) -> Path:
        return self.home / "repo"

    def source(self, version: int) -> Path:
        """Return the directory that ``version`` was published from."""
        return self.home / f"source.{version}"

    def tree(self, number: Number) -> Path:
        return self.store / f"olpc.{number}"

    def release(self, version: int) -> str:
        return f"{self.repo}/releases/{version}.json"

    @property
    def links(self) -> dict[str, str]:
        """The links of the store and where they lead."""
        found = {name: self.store / name for name in ("current", "previous")}
        return {name: os.readlink(path) for name, path in found.items() if path.is_symlink()}

    def attempt(self, *arguments: object, env: Mapping[str, str] | None = None) -> Done:
        """Run ``rootman ARGUMENTS`` with this store."""
        environment = {"PATH": os.environ["PATH"], "ROOTMAN_ROOTFS": str(self.store)}
        done = subprocess.run(
            [*self.runner, str(ROOTMAN), *map(str, arguments)],
            check=False,
            capture_output=True,
            env={**environment, **(env or {})},
            cwd=self.home,
        )
        err, notes = UNVERIFIED.subn("", os.fsdecode(done.stderr), count=1)
        return Done(done.returncode, os.fsdecode(done.stdout), err, is_unverified=bool(notes))

    def run(self, *arguments: object, env: Mapping[str, str] | None = None) -> Done:
        """Run ``rootman ARGUMENTS``, which must succeed and say nothing on standard error."""
        done = self.attempt(*arguments, env=env)
        assert (done.code, done.err) == (0, ""), done
        return done

    def document(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """Run ``rootman ARGUMENTS --json``, which must exit with ``code``; return what it says."""
        done = self.attempt(*arguments, "--json")
        assert (done.code, done.err) == (code, ""), done
        document: dict[str, Any] = json.loads(done.out)
        return document

    def refused(self, *arguments: object, code: int, env: Mapping[str, str] | None = None) -> str:
        """Run ``rootman ARGUMENTS``, which must exit with ``code``; return its one line (EX-2)."""
        done = self.attempt(*arguments, env=env)
        assert (done.code, done.out) == (code, ""), done.err
        assert done.err.isascii()
        assert done.err.endswith("\n")
        assert len(done.err.splitlines()) == 1, done.err
        return done.err.removesuffix("\n")

    def publish(self, version: int, tree: Tree) -> None:
        """Make ``tree`` and publish it."""
        build(self.source(version), tree)
        self.run("publish", self.source(version), self.repo, "--version", version)

    def install(self, *trees: Tree) -> None:
        """Publish ``trees`` as versions 1, 2, ... and upgrade a new store to each in turn."""
        self.run("init")
        for version, tree in enumerate(trees, 1):
            self.publish(version, tree)
            self.run("upgrade", self.release(version))
