"""A store on the disk: where things are, and ``scan``, which reads what is there.

Nothing is changed here. The layout is specified in spec/10-layout.md.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.boot.block import BLOCK_SIZE, BootState, parse_block
from rootman.boot.commandline import firmware_limit
from rootman.boot.running import kernel_command_line
from rootman.directory import rewind
from rootman.errors import NotFound, SystemFailure
from rootman.names import (
    CONTROL,
    CURRENT,
    PREVIOUS,
    StageKind,
    parse_stage_name,
    parse_tree_name,
    parse_tree_number,
    tree_name,
)
from rootman.state import (
    Settings,
    Stage,
    StoreState,
    Tree,
    parse_seal,
    parse_settings,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.boot.loader import Loader
    from rootman.merge.note import MergeNote
    from rootman.names import TreeNumber

DEFAULT_ROOTFS: Final = "/rootfs"
STATE_FILE: Final = "state.json"
OBJECTS: Final = "objects"
STATES: Final = "state"
BOOT: Final = "boot"
BOOT_BLOCK: Final = "grubenv"
STATE_DIRS: Final = ("trees", "staging", OBJECTS, BOOT)

# In a stage: the tree, the seal record it came with, the one it is to get.
STAGE_ROOT: Final = "root"
STAGE_META: Final = "meta"
STAGE_SEAL: Final = "seal"

# In a seal record.
SEAL_FILE: Final = "seal.json"
MANIFEST_FILE: Final = "manifest.zst"
RELEASE_FILE: Final = "release.json"
INODES_FILE: Final = "inodes.zst"
DIGESTS_FILE: Final = "digests.zst"
EDITS_FILE: Final = "edits.zst"
STAMPS_FILE: Final = "stamps.zst"
LAYER_FILE: Final = "layer.zst"
STATE_PATHS: Final = "state.paths"
CONFIG_PATHS: Final = "config.paths"
NOTE_FILE: Final = "merge.json"

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_MAX_STATE: Final = 1 << 20


class Store:
    """An open store: descriptors of its directories, kept until ``close``."""

    def __init__(self, path: str, root_fd: int) -> None:
        self.path = path
        self.fd = root_fd
        self._fds: dict[str, int] = {}

    @property
    def control(self) -> int:
        """Descriptor of ``.rootman``."""
        return self._sub(CONTROL)

    @property
    def trees(self) -> int:
        """Descriptor of ``.rootman/trees``, where the seal records are."""
        return self._sub(f"{CONTROL}/trees")

    @property
    def staging(self) -> int:
        """Descriptor of ``.rootman/staging``."""
        return self._sub(f"{CONTROL}/staging")

    @property
    def boot(self) -> int:
        """Descriptor of ``.rootman/boot``, where the boot state is."""
        return self._sub(f"{CONTROL}/{BOOT}")

    @property
    def objects(self) -> int:
        """Descriptor of ``.rootman/objects``."""
        return self._sub(f"{CONTROL}/objects")

    def stage_path(self, stage: str) -> str:
        """Return the path of a stage, for what is not reached by a descriptor."""
        return f"{os.path.realpath(self.path)}/{CONTROL}/staging/{stage}"

    def _sub(self, path: str) -> int:
        if path not in self._fds:
            self._fds[path] = os.open(path, _DIRECTORY, dir_fd=self.fd)
        return self._fds[path]

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self._fds.values(), self.fd):
            os.close(fd)
        self._fds.clear()

    def settings(self) -> Settings:
        """Return the content of ``state.json``.

        Raises:
            InvalidInput: it is damaged or of an unknown format.
        """
        return parse_settings(
            _read_small(STATE_FILE, self.control), f"{self.path}/{CONTROL}/{STATE_FILE}"
        )


@contextmanager
def open_store(path: str) -> Iterator[Store]:
    """Open the store at ``path`` for as long as the context lasts.

    Raises:
        NotFound: there is no store.
        SystemFailure: it cannot be read.
    """
    hint = f"rootman --rootfs {path} init"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{path}: there is no store here", hint=hint) from error
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error
    store = Store(path, fd)
    try:
        try:
            store.control  # noqa: B018  opened now, so that the error names the cause
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{path}: there is no store here", hint=hint) from error
        except PermissionError as error:
            raise SystemFailure(f"{path}/{CONTROL}: {error.strerror}", hint="be root") from error
        yield store
    finally:
        store.close()


def scan(store: Store) -> StoreState:
    """Return what is in the store now.

    Raises:
        InvalidInput: a file of the store's own is damaged.
        OSError: reading failed.
    """
    settings = store.settings()
    for fd in (store.fd, store.trees, store.staging):
        rewind(fd)
    names = os.listdir(store.fd)
    records = {
        number
        for name in os.listdir(store.trees)
        if (number := parse_tree_number(name)) is not None
    }
    numbers = sorted(
        number
        for name in names
        if (number := parse_tree_name(settings.os_name, name)) is not None
        and _is_directory(name, store.fd)
    )
    trees = tuple(_tree(store, settings, number, number in records) for number in numbers)
    problems: list[str] = []
    links = [_link(store, settings, name, numbers, problems) for name in (CURRENT, PREVIOUS)]
    boot, is_boot_damaged = _boot(store, problems)
    staged = os.listdir(store.staging)
    state = StoreState(
        settings=settings,
        trees=trees,
        current=links[0],
        previous=links[1],
        stages=tuple(_stages(store, staged)),
        orphans=tuple(sorted(records - set(numbers))),
        litter=tuple(sorted(name for name in staged if parse_stage_name(name) is None)),
        problems=tuple(problems),
        obstacles=frozenset(_obstacles(store, settings, names)),
        boot=boot,
        is_boot_damaged=is_boot_damaged,
        limit=0 if boot is None else firmware_limit(kernel_command_line()),
    )
    return state if settings.loader is None else _with_menu(store, state, settings.loader)


def _with_menu(store: Store, state: StoreState, loader: Loader) -> StoreState:
    from rootman.boot.menufiles import look_at_menu  # few loaders have one

    menu = look_at_menu(store, state, loader)
    problems = (*state.problems, menu.problem) if menu.problem else state.problems
    return replace(state, menu=menu, problems=problems)


def _boot(store: Store, problems: list[str]) -> tuple[BootState | None, bool]:
    """Return the boot state, and whether its block is damaged, which counts as empty (BT-2)."""
    try:
        data = _read_small(f"{BOOT}/{BOOT_BLOCK}", store.control)
    except FileNotFoundError:
        return None, False
    boot = parse_block(data)
    is_damaged = boot is None or len(data) != BLOCK_SIZE
    if is_damaged:
        problems.append(f"the boot state, {CONTROL}/{BOOT}/{BOOT_BLOCK}, is damaged")
    return boot or BootState(), is_damaged


def _obstacles(store: Store, settings: Settings, names: list[str]) -> Iterator[str]:
    for name in names:
        if name in (CURRENT, PREVIOUS):
            wanted = stat.S_ISLNK
        elif parse_tree_name(settings.os_name, name) is not None:
            wanted = stat.S_ISDIR
        else:
            continue
        if not wanted(os.stat(name, dir_fd=store.fd, follow_symlinks=False).st_mode):
            yield name


def _tree(
    store: Store,
    settings: Settings,
    number: TreeNumber,
    recorded: bool,  # noqa: FBT001
) -> Tree:
    name = tree_name(settings.os_name, number)
    if not recorded:
        return Tree(number, name, None)
    try:
        data = _read_small(f"{number}/{SEAL_FILE}", store.trees)
    except FileNotFoundError:
        return Tree(number, name, None)
    seal = parse_seal(data, f"{CONTROL}/trees/{number}/{SEAL_FILE}")
    adopted = not _exists(f"{number}/{RELEASE_FILE}", store.trees)
    return Tree(number, name, seal, adopted, note=_note(store, number))


def _note(store: Store, number: TreeNumber) -> MergeNote | None:
    """Return what the configuration of a tree was merged of, if it is known (ST-27)."""
    try:
        data = _read_small(f"{number}/{NOTE_FILE}", store.trees)
    except FileNotFoundError:
        return None
    from rootman.merge.note import parse_note  # most looks are at trees without one

    return parse_note(data)


def _link(
    store: Store, settings: Settings, name: str, numbers: list[TreeNumber], problems: list[str]
) -> TreeNumber | None:
    """Return the tree that the link ``name`` leads to, None where it leads nowhere."""
    try:
        target = os.readlink(name, dir_fd=store.fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        problems.append(f"{name} is not a symlink")
        return None
    number = parse_tree_name(settings.os_name, target)
    if number is None or number not in numbers:
        problems.append(f"{name} -> {target} leads to no tree of this store")
        return None
    return number


def _stages(store: Store, names: list[str]) -> Iterator[Stage]:
    for name in sorted(names):
        stage = parse_stage_name(name)
        if stage is not None:
            has_root = _is_directory(f"{name}/{STAGE_ROOT}", store.staging)
            yield Stage(
                stage,
                has_root=has_root,
                has_meta=_is_directory(f"{name}/{STAGE_META}", store.staging),
                in_use=has_root and stage.kind is StageKind.UNLOCKED and _is_guarded(store, name),
            )


def _is_guarded(store: Store, stage: str) -> bool:
    from rootman.usage import is_guarded  # few stores have such a stage

    return is_guarded(f"/proc/self/fd/{store.staging}/{stage}/{STAGE_ROOT}")


def _exists(name: str, dir_fd: int) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        return True
    return False


def _is_directory(name: str, dir_fd: int) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    return False


def _read_small(name: str, dir_fd: int) -> bytes:
    with open_below(name, dir_fd) as file:
        return file.read(_MAX_STATE)


def part_file(digest: str) -> str:
    """Return the name, in a seal record, of the manifest ``digest`` of a bundle."""
    return f"{digest}.zst"


def open_below(name: str, dir_fd: int) -> BinaryIO:
    """Open the file ``name`` below ``dir_fd`` for reading; a symlink is not followed."""
    return open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd), "rb")


def require_tree(state: StoreState, number: TreeNumber | None) -> Tree:
    """Return the sealed tree ``number``, the current one for None.

    Raises:
        NotFound, InvalidInput: as for ``require``, or none is current.
    """
    number = state.current if number is None else number
    if number is None:
        raise NotFound("no tree is current", hint="name a version; rootman status lists them")
    return require(state, number)
