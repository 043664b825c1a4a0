"""The package managers that can be asked to install into a tree: an entry of a table each. Pure.

Out of scope: running them (``layering``, and the guard's process), reading what they said.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rootman.difference import PathDifference

    Kind = Literal["added", "removed", "changed"]

_SCRATCH: Final = "/tmp"  # noqa: S108  a directory of the stage, which goes with it
_DPKG: Final = ("force-confdef", "force-confold", "force-unsafe-io", f"log={_SCRATCH}/dpkg.log")
_NO_SERVICE: Final = "#!/bin/sh\nexit 101\n"


@dataclass(frozen=True, slots=True)
class Placed:
    """A file that is in the tree only while the package manager runs."""

    path: str
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Packages:
    """Names of packages that differ between two trees."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager, by what a tree has of it; paths are decoded, without the first slash.

    A tree has it that has its ``program``. What is installed is known by the names of files in
    the directory ``database``: ``name_of`` gives that of the package which has the file, and its
    kind, of which ``listing`` is there as long as anything of the package is, and ``lasting`` when
    its configuration alone is left. ``automatic`` returns, of the content of the file
    ``reasons``, the packages that came because others needed them. ``commands`` install packages,
    with ``/tmp`` for what they need meanwhile.
    """

    name: str
    program: bytes
    database: bytes
    name_of: Callable[[str], tuple[str, str]]
    listing: str
    lasting: frozenset[str]
    reasons: bytes
    automatic: Callable[[str], frozenset[str]]
    commands: Callable[[tuple[str, ...]], tuple[tuple[str, ...], ...]]
    environment: Mapping[str, str]
    placed: tuple[Placed, ...]

    def installed(self, paths: Iterable[bytes]) -> frozenset[str]:
        """Return the packages of a tree that has these ``paths`` in the database."""
        return frozenset(
            found[0] for path in paths if (found := self._parsed(path))[1] == self.listing
        )

    def differing(self, paths: Iterable[PathDifference]) -> Packages:
        """Return the packages that are others, by the ``paths`` that are."""
        found: defaultdict[str, dict[str, Kind]] = defaultdict(dict)
        for one in paths:
            package, kind = self._parsed(one.path)
            if package:
                found[package][kind] = one.kind
        result: dict[Kind, list[str]] = {"added": [], "removed": [], "changed": []}
        for package, files in sorted(found.items()):
            how = files.get(self.listing, "changed")
            gone = {kind for kind, what in files.items() if what == "removed"}
            if how == "changed" and gone - self.lasting:
                how = "removed"
            result[how].append(package)
        return Packages(*(tuple(result[kind]) for kind in ("added", "removed", "changed")))

    def _parsed(self, path: bytes) -> tuple[str, str]:
        parent, name = split(path)
        if parent != self.database:
            return "", ""
        return self.name_of(name.decode("utf-8", "backslashreplace"))


def find_manager(has: Callable[[bytes], bool]) -> Manager | None:
    """Return the package manager of a tree, which ``has`` paths; None for none that is known."""
    return next((one for one in MANAGERS if has(one.program)), None)


def _dpkg_name(name: str) -> tuple[str, str]:
    """Return package and kind of a file of ``dpkg``; ``libc6:amd64.list`` is of libc6."""
    package, dot, kind = name.rpartition(".")
    return (package.partition(":")[0], kind) if dot else ("", "")


def _apt_automatic(content: str) -> frozenset[str]:
    """Return what apt installed because something else needs it, by its extended_states."""
    found = set()
    for block in content.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if fields.get("Auto-Installed") == "1":
            found.add(fields.get("Package", ""))
    return frozenset(found)


def _apt_commands(packages: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return what refreshes the lists, downloads all, and installs it without a network."""
    apt = (
        "/usr/bin/apt-get", "--quiet=1", "--yes",
        *_options(f"Dir::State::Lists={_SCRATCH}/lists", f"Dir::Cache={_SCRATCH}/cache"),
        *_options(f"Dir::Log={_SCRATCH}/log", "Acquire::Languages=none"),
        *_options("APT::Update::Error-Mode=any", "Dpkg::Use-Pty=0"),
        # What was configured here is there already: it stays (LY-6). The tree is made
        # durable as a whole when it is sealed.
        *_options(*(f"Dpkg::Options::=--{one}" for one in _DPKG)),
    )  # fmt: skip
    folders = ("log", "lists/partial", "cache/archives/partial")
    return (
        ("/bin/mkdir", "-p", *(f"{_SCRATCH}/{one}" for one in folders)),
        (*apt, "update"),
        (*apt, "install", "--download-only", *packages),
        (*apt, "install", "--no-download", *packages),
    )


def _options(*options: str) -> tuple[str, ...]:
    return tuple(word for one in options for word in ("-o", one))


APT: Final = Manager(
    name="apt-get",
    program=b"usr/bin/apt-get",
    database=b"var/lib/dpkg/info",
    name_of=_dpkg_name,
    listing="list",
    lasting=frozenset({"list", "postrm"}),
    reasons=b"var/lib/apt/extended_states",
    automatic=_apt_automatic,
    commands=_apt_commands,
    environment={
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "APT_LISTCHANGES_FRONTEND": "none",
        "NEEDRESTART_SUSPEND": "1",
    },
    placed=(Placed("/usr/sbin/policy-rc.d", _NO_SERVICE.encode(), 0o755),),
)  # fmt: skip

MANAGERS: Final = (APT,)
