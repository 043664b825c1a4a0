"""Giving a loader with a filesystem of its own the kernels and the menu that it boots by."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rootman.boot.installing import checked_path, filesystem_of, root_argument
from rootman.boot.loader import EXTLINUX, SYSTEMD_BOOT, Loader
from rootman.boot.menu import FOLDER, order_in
from rootman.boot.menufiles import CONF, NEW, TOKEN, menu_folder
from rootman.boot.planning import plan_boot_init
from rootman.errors import NotFound, Refused
from rootman.execute import Executor, explained
from rootman.fsops import opened as opened_below
from rootman.session import read_state
from rootman.smallfiles import open_given, read_file, replace_file
from rootman.steps import SaveSettings, UpdateMenu
from rootman.usage import mounts, place_of

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from rootman.session import Session

_LOADER_CONF: Final = "loader.conf"
_DEFAULT: Final = "default rootman-*"
_LIMIT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Installed:
    """The loader, the trees in its menu now, and what it will not do here."""

    kind: str
    menu: tuple[str, ...]
    warnings: tuple[str, ...]


def install_entries(opened: Session, path: str, kind: str | None) -> Installed:
    """Have the menu of the loader in ``path`` kept from now on, and make it.

    Raises:
        NotFound: there is no such directory, or no loader in it that is known.
        Refused: it belongs to another store, or somebody else keeps its menu.
        RootmanError: it failed; nothing boots otherwise than before.
    """
    path = os.path.realpath(path)
    kind = kind or _kind_in(path)
    with explained(path):
        folder = open_given(path)
        try:
            loader = _loader(opened, path, kind, folder)
            _refuse_others(folder, loader)
            _prepare(opened.fs, folder, loader)
            warnings = _configure(opened.fs, folder, path) if kind == SYSTEMD_BOOT else ()
        finally:
            os.close(folder)
    state = read_state(opened)
    settings = replace(state.settings, loader=loader)
    plan = (*plan_boot_init(state), SaveSettings(settings), UpdateMenu())
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    return _installed(opened, kind, warnings)


def forget_loader(opened: Session) -> bool:
    """Keep the menu no longer; what is there stays. Return whether one was kept.

    Raises:
        RootmanError: it could not be written.
    """
    state = read_state(opened)
    if state.settings.loader is None:
        return False
    plan = (SaveSettings(replace(state.settings, loader=None)),)
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    return True


def _kind_in(path: str) -> str:
    for kind in (SYSTEMD_BOOT, EXTLINUX):
        if os.path.isdir(os.path.join(path, menu_folder(kind).partition("/")[0])):
            return kind
    raise NotFound(
        f"{path} has neither loader/ nor extlinux/",
        hint="install the loader first (bootctl install), or say --loader",
    )


def _loader(opened: Session, path: str, kind: str, folder: int) -> Loader:
    known = mounts()
    place = place_of(path, known)
    # What is not a filesystem of its own is a copy of one that is to be: its paths are as there.
    prefix = "" if kind == SYSTEMD_BOOT else place.inner.rstrip("/")
    store = place_of(os.path.realpath(opened.store.path), known)
    found = filesystem_of(store)
    if not found.uuid:
        raise Refused(
            f"{opened.store.path} is on a filesystem that has no UUID to name it by",
            hint="keep the store on ext4, XFS or btrfs",
        )
    root = root_argument(found, checked_path(store.inner or "/"))
    return Loader(kind, path, _token(opened, folder), prefix, root)


def _token(opened: Session, folder: int) -> str:
    """Return what the directory is known by: that of before, if there is one.

    Raises:
        Refused: it is that of another store.
    """
    before = read_state(opened).settings.loader
    try:
        with opened_below(FOLDER, dir_fd=folder) as kernels:
            data = read_file(TOKEN, _LIMIT, dir_fd=kernels)
    except FileNotFoundError:
        data = None
    if data is None:
        return secrets.token_hex(16)
    token = data.decode("ascii", "replace").strip()
    if before is None or token != before.token:
        raise Refused(
            f"the kernels there are those of another store ({FOLDER}/{TOKEN})",
            hint=f"if that is gone, remove its directory {FOLDER}",
        )
    return token


def _refuse_others(folder: int, loader: Loader) -> None:
    if loader.counts:
        return
    try:
        with opened_below(menu_folder(loader.kind), dir_fd=folder) as menu:
            data = read_file(CONF, _LIMIT, dir_fd=menu)
    except FileNotFoundError:
        return
    if data is not None and order_in(data.decode("utf-8", "replace")) is None:
        raise Refused(
            f"{loader.path}/{menu_folder(loader.kind)}/{CONF} is not rootman's",
            hint="move it out of the way",
        )


def _prepare(fs: Fs, folder: int, loader: Loader) -> None:
    """Make the directories, and what says whose they are, last."""
    menu = menu_folder(loader.kind)
    for path in dict.fromkeys((FOLDER, menu.partition("/")[0], menu)):
        with suppress(FileExistsError):
            fs.mkdir(path, 0o755, dir_fd=folder)
    with opened_below(FOLDER, dir_fd=folder) as kernels:
        replace_file(fs, TOKEN, f"{loader.token}\n".encode(), new=NEW, dir_fd=kernels)
    fs.syncfs(folder)
    fs.fsync(folder)


def _configure(fs: Fs, folder: int, path: str) -> tuple[str, ...]:
    """Have systemd-boot take our entries before others, where nobody has said otherwise."""
    is_root = place_of(path, mounts()).inner in ("", "/")
    warning = f"{path} is not the root of its filesystem, where systemd-boot looks"
    warnings = () if is_root else (warning,)
    with opened_below("loader", dir_fd=folder) as loader:
        data = read_file(_LOADER_CONF, _LIMIT, dir_fd=loader)
        if data is None:
            text = f"{_DEFAULT}\ntimeout 0\n"
            replace_file(fs, _LOADER_CONF, text.encode(), new=NEW, dir_fd=loader)
            return warnings
    if _DEFAULT.encode() in data.split(b"\n"):
        return warnings
    return (*warnings, f"loader/{_LOADER_CONF} does not say {_DEFAULT!r}: another entry may boot")


def _installed(opened: Session, kind: str, warnings: tuple[str, ...]) -> Installed:
    state = read_state(opened)
    loadable = state.menu.loadable if state.menu is not None else frozenset()
    more = tuple(
        f"{name} has no boot/rootman.cfg: it cannot be loaded"
        f" (hint: rootman boot label, before it is published)"
        for name in state.sealed_names
        if name not in loadable
    )
    return Installed(kind, tuple(sorted(loadable)), (*warnings, *more))
