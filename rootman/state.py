"""What a store looks like at one moment, as ``store.scan`` read it. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from rootman.boot.first import TRIALS
from rootman.boot.loader import Loader
from rootman.errors import InvalidInput, NotFound
from rootman.names import (
    BASE,
    TreeNumber,
    check_os_name,
    check_package,
    parse_tree_number,
    tree_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootman.boot.block import BootState
    from rootman.boot.first import Trial
    from rootman.merge.note import MergeNote
    from rootman.names import StageName

FORMAT: Final = 1

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

TreeKind = Literal["sealed", "unsealed"]


@dataclass(frozen=True, slots=True)
class Seal:
    """The summary of a tree's seal record.

    ``version`` is that of its release; together with ``revision`` it is the tree's number.
    ``manifest`` is the SHA-256 of the manifest, ``entries`` its number of lines,
    ``size`` the bytes of its files' content, ``sealed_at`` seconds since 1970,
    ``edits`` how many there are to the manifest that the record keeps. ``parts`` are the
    manifests of all its bundles by their names, by default that of base alone, ``bundles``
    the names of those that were chosen: the others came with them.
    """

    version: int
    manifest: str
    entries: int
    size: int
    sealed_at: int
    revision: int = 0
    edits: int = 0
    parts: Mapping[str, str] = field(default_factory=dict)
    bundles: tuple[str, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", {BASE: self.manifest})

    @property
    def others(self) -> tuple[str, ...]:
        """The manifests of its bundles but for base, each once."""
        return tuple(sorted({digest for name, digest in self.parts.items() if name != BASE}))

    def serialise(self) -> bytes:
        """Return the content of ``seal.json``."""
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory called like a tree; without a seal it is somebody else's and left alone.

    ``adopted`` says that it was sealed and came from no release, ``note`` of what its
    configuration was merged.
    """

    number: TreeNumber
    name: str
    seal: Seal | None
    adopted: bool = False
    note: MergeNote | None = None

    @property
    def state(self) -> TreeKind:
        """``sealed``, or ``unsealed`` for a directory that rootman did not seal."""
        return "unsealed" if self.seal is None else "sealed"


@dataclass(frozen=True, slots=True)
class Stage:
    """A directory in staging and what of it is there; ``in_use`` by a guard it is left alone."""

    name: StageName
    has_root: bool
    has_meta: bool
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What is kept of the store as a whole: the content of ``state.json``.

    All is what its owner decided but ``first_boot``, how far the test of that got.
    """

    os_name: str
    pinned: frozenset[TreeNumber] = frozenset()
    compatible: str = ""
    first_boot: Trial = ""
    loader: Loader | None = None  # one that has a menu of its own to be kept
    layer: tuple[str, ...] = ()  # packages that each new tree gets besides

    def serialise(self) -> bytes:
        """Return the content of ``state.json``."""
        document: dict[str, object] = {
            "format": FORMAT,
            "name": self.os_name,
            "pinned": list(map(str, sorted(self.pinned))),
            "compatible": self.compatible,
            **({"first_boot": self.first_boot} if self.first_boot else {}),
        }
        if self.loader is not None:
            document["loader"] = asdict(self.loader)
        if self.layer:
            document["layer"] = list(self.layer)
        return (json.dumps(document, sort_keys=True) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Menu:
    """What the loader that has a menu of its own finds there, and what it can load.

    ``found`` are its entries, by their names, ``loadable`` the trees with a kernel for it,
    ``booted`` what this machine runs, "" where that is not known. ``problem`` says why nothing
    is known of the menu, which is then left alone. ``is_settled`` says that nothing has to be
    read back from it, or written there.
    """

    found: tuple[str, ...] = ()
    loadable: frozenset[str] = frozenset()
    booted: str = ""
    problem: str = ""
    is_settled: bool = True


@dataclass(frozen=True, slots=True)
class StoreState:
    """Everything planners decide from."""

    settings: Settings
    trees: tuple[Tree, ...]
    current: TreeNumber | None
    previous: TreeNumber | None
    stages: tuple[Stage, ...] = ()
    orphans: tuple[TreeNumber, ...] = ()  # seal records whose tree lost its name
    litter: tuple[str, ...] = ()  # other names in staging: temporary links and files
    problems: tuple[str, ...] = field(default=())
    # Names of links and trees that something else has: a file, or a directory for a link.
    obstacles: frozenset[str] = frozenset()
    boot: BootState | None = None  # None where no boot loader was ever set up
    is_boot_damaged: bool = False
    limit: int = 0  # how far the firmware may count in a trial that begins now (BT-32)
    menu: Menu | None = None  # None where no loader has one

    def tree(self, number: TreeNumber | None) -> Tree | None:
        """Return the sealed or unsealed tree ``number``, None where there is none."""
        return next((tree for tree in self.trees if tree.number == number), None)

    def of_version(self, version: int) -> tuple[Tree, ...]:
        """Return all trees of the release ``version``."""
        return tuple(tree for tree in self.trees if tree.number.version == version)

    def sealed(self, number: TreeNumber | None) -> Tree | None:
        """Return the tree ``number`` if it is sealed."""
        tree = self.tree(number)
        return tree if tree is not None and tree.seal is not None else None

    @property
    def is_settled(self) -> bool:
        """Whether there is certainly nothing to recover.

        In staging is then at most a whole spare, and what is in use.
        """
        stages = [one for one in self.stages if not one.in_use]
        spares = [one for one in stages if one.name.kind.value == "spare"]
        whole = all(one.has_root and one.has_meta for one in spares)
        alone = len(stages) == len(spares) <= 1
        told = self.menu is None or self.menu.is_settled
        return whole and alone and told and not (self.orphans or self.litter or self.has_failed)

    @property
    def has_failed(self) -> bool:
        """Whether the current tree is bad, so that the loader boots another one."""
        return self.current is not None and self.is_bad(self.current)

    def is_bad(self, number: TreeNumber) -> bool:
        """Return whether a tree is known to have failed, also one that is not here any more."""
        return self.boot is not None and self.name_of(number) in self.boot.bad

    def name_of(self, number: TreeNumber) -> str:
        """Return the name of a tree of this store, whether it is there or not."""
        return tree_name(self.settings.os_name, number)

    @property
    def sealed_names(self) -> tuple[str, ...]:
        """The names of the sealed trees."""
        return tuple(tree.name for tree in self.trees if tree.seal is not None)

    @property
    def newest(self) -> TreeNumber | None:
        """The highest number among the sealed trees."""
        return max((tree.number for tree in self.trees if tree.seal is not None), default=None)


def require(state: StoreState, number: TreeNumber) -> Tree:
    """Return the sealed tree ``number``; refuse to go on without it.

    Raises:
        NotFound: there is no such tree.
        InvalidInput: the directory was not sealed by rootman.
    """
    tree = state.tree(number)
    if tree is None:
        there = ", ".join(one.name for one in state.trees) or "no trees at all"
        raise NotFound(f"{state.name_of(number)}: no such tree", hint=f"there are {there}")
    if tree.seal is None:
        raise InvalidInput(f"{tree.name} has no seal record: rootman did not make it")
    return tree


def parse_seal(data: bytes, origin: str) -> Seal:
    """Return the summary in ``data``, the content of the file ``origin``.

    Raises:
        InvalidInput: it is damaged or of a format this rootman does not know.
    """
    document = _document(data, origin)
    try:
        return Seal(
            version=_integer(document["version"]),
            revision=_integer(document["revision"]),
            manifest=_text(document["manifest"]),
            entries=_integer(document["entries"]),
            size=_integer(document["size"]),
            sealed_at=_integer(document["sealed_at"]),
            edits=_integer(document["edits"]),
            parts=_parts(document["parts"]),
            bundles=_names(document["bundles"], document["parts"]),
        )
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{origin}: damaged: {error}") from error


def parse_settings(data: bytes, origin: str) -> Settings:
    """Return the settings in ``data``, the content of the file ``origin``.

    Raises:
        InvalidInput: it is damaged or of a format this rootman does not know.
    """
    document = _document(data, origin)
    try:
        pinned = document["pinned"]
        if not isinstance(pinned, list):
            raise TypeError("pinned is not a list")
        return Settings(
            os_name=check_os_name(_text(document["name"])),
            pinned=frozenset(map(_number, pinned)),
            compatible=_text(document["compatible"]),
            loader=_loader(document.get("loader")),
            first_boot=_trial(document.get("first_boot", "")),
            layer=_layer(document.get("layer", [])),
        )
    except (KeyError, TypeError, InvalidInput) as error:
        raise InvalidInput(f"{origin}: damaged: {error}") from error


def _loader(value: object) -> Loader | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError("loader is not an object")
    fields = {key: _text(value[key]) for key in ("kind", "path", "token", "prefix", "root")}
    return Loader(**fields)


def _document(data: bytes, origin: str) -> dict[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{origin}: damaged: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{origin}: damaged: not a JSON object")
    known = document.get("format")
    if type(known) is not int or known != FORMAT:
        raise InvalidInput(
            f"{origin}: format {known!r} is not known to this rootman",
            hint="update rootman first",
        )
    return document


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _number(value: object) -> TreeNumber:
    number = parse_tree_number(_text(value))
    if number is None:
        raise TypeError(f"{value!r} is no tree's number")
    return number


def _trial(value: object) -> Trial:
    found = next((one for one in TRIALS if one == value), None)
    if found is None:
        raise TypeError(f"{value!r} is nothing that comes of a first boot")
    return found


def _layer(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("layer is not a list")
    return tuple(check_package(_text(one)) for one in value)


def _parts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or BASE not in value:
        raise TypeError("parts are not those of a tree")
    for digest in value.values():
        if _DIGEST.fullmatch(_text(digest)) is None:
            raise TypeError(f"{digest!r} names no manifest")
    return value


def _names(value: object, parts: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not isinstance(parts, dict):
        raise TypeError("bundles is not a list")
    names = tuple(map(_text, value))
    if not parts.keys() - {BASE} >= set(names) or len(set(names)) < len(names):
        raise TypeError("bundles has what are none, or one twice")
    return names


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
