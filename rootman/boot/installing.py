"""Giving GRUB what it needs to choose a tree: the fragment, and a boot state to count in."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from rootman.boot import label
from rootman.boot.marking import begin_boot
from rootman.boot.superblock import SIZE, Filesystem, parse_superblock
from rootman.errors import InvalidInput, Refused, SystemFailure
from rootman.execute import explained
from rootman.session import read_state
from rootman.smallfiles import open_given, read_file, replace_file
from rootman.store import DEFAULT_ROOTFS
from rootman.usage import mounts, place_of

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from rootman.session import Session
    from rootman.usage import Place

FRAGMENT: Final = "rootman.cfg"
# What Debian's grub.cfg sources at its end, and update-grub leaves alone.
CUSTOM: Final = "custom.cfg"
_LINE: Final = b"source ${config_directory}/rootman.cfg\n"
_NEW: Final = "{}.rootman-new"
_PATH: Final = re.compile(r"[A-Za-z0-9/._-]+")
_MODE: Final = "rootman.mode="
_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Installed:
    """What was written, by its paths, and what GRUB will not do here."""

    written: tuple[str, ...]
    warnings: tuple[str, ...]


def install_grub(opened: Session, folder: str, *, mode: str | None = None) -> Installed:
    """Write the fragment into GRUB's own directory ``folder``, and begin a boot state.

    Trees come up in ``mode``, without one as the fragment that is there has it. All is checked
    before anything is written; each file is there as it was or as it is to be.

    Raises:
        NotFound: there is no such directory.
        Refused: GRUB cannot read the filesystem of the store, or cannot write there.
        RootmanError: it failed.
    """
    with explained(folder):
        grub = open_given(folder, hint="install GRUB first")
    try:
        place = place_of(os.path.realpath(opened.store.path), mounts())
        found = _for_grub(filesystem_of(place))
        path = checked_path(place.inner or "/")
        state = read_state(opened)
        with explained(folder):
            mode = mode or _mode_of(read_file(FRAGMENT, _LIMIT, dir_fd=grub) or b"")
        fragment = _fragment(state.settings.os_name, path, found, mode)
        warnings = label.find_unlabelled(opened.store.path, state.sealed_names, label.FILE, "GRUB")
        begin_boot(opened)
        with explained(folder):
            written = _write(opened.fs, grub, fragment)
    finally:
        os.close(grub)
    return Installed(tuple(os.path.join(folder, name) for name in written), warnings)


def filesystem_of(place: Place) -> Filesystem:
    """Return what the store is on.

    Raises:
        SystemFailure: its device cannot be read.
    """
    try:
        with open(place.source, "rb") as file:
            return parse_superblock(file.read(SIZE))
    except OSError as error:
        raise SystemFailure(
            f"{place.path} is on {place.source}, which cannot be read: {error.strerror}",
            hint="be root, with the store on a disk",
        ) from error


def _for_grub(found: Filesystem) -> Filesystem:
    """Return what the store is on, if GRUB can do its part there."""
    if found.unreadable:
        raise Refused(
            f"GRUB cannot read this {found.kind}: it has {', '.join(found.unreadable)}",
            hint="make the filesystem without it, or boot by an initramfs alone",
        )
    if not found.is_writable:
        raise Refused(
            f"GRUB cannot count attempts on {found.kind or 'this filesystem'}",
            hint="keep the store on ext4 or XFS, or boot by an initramfs alone",
        )
    return found


def root_argument(found: Filesystem, path: str) -> str:
    """Return what the kernel is told of where the store is: its filesystem, and its path there."""
    words = [f"root=UUID={found.uuid}"]
    words += [f"rootman.store={path}"] if path != DEFAULT_ROOTFS else []
    return " ".join(words)


def checked_path(path: str) -> str:
    """Return the path of the store as a loader sees it, from the root of its filesystem.

    Raises:
        InvalidInput: a loader could not be told of such a path.
    """
    if _PATH.fullmatch(path) is None:
        raise InvalidInput(
            f"{path!r} cannot be written for a loader", hint="use letters, digits, ._-"
        )
    return path


def _fragment(os_name: str, path: str, found: Filesystem, mode: str) -> bytes:
    # What a tree adds comes behind it, and of an option that is there twice the last counts.
    root = root_argument(found, path) + (f" {_MODE}{mode}" if mode else "")
    head = (
        "# Written by rootman boot install-grub, which writes it again.\n"
        f"search --no-floppy --fs-uuid --set=rootman_device {found.uuid}\n"
        f'set rootman_store="($rootman_device){path.rstrip("/")}"\n'
        f"set rootman_os={os_name}\n"
        f'set rootman_root="{root}"\n\n'
    )
    data = files("rootman.boot") / "data"
    return b"".join(
        (head.encode(), (data / FRAGMENT).read_bytes(), (data / "menu.cfg").read_bytes())
    )


def _mode_of(fragment: bytes) -> str:
    """Return the mode that a fragment has trees come up in, "" where it has none."""
    found = re.search(rb'^set rootman_root=.*\brootman\.mode=([a-z]+)"$', fragment, re.MULTILINE)
    return found[1].decode() if found is not None else ""


def _write(fs: Fs, grub: int, fragment: bytes) -> list[str]:
    """Write what is not there yet; the fragment is there before anything sources it."""
    wanted = [(FRAGMENT, fragment)]
    custom = read_file(CUSTOM, _LIMIT, dir_fd=grub) or b""
    if _LINE not in custom:
        end = b"" if custom.endswith(b"\n") or not custom else b"\n"
        wanted.append((CUSTOM, custom + end + _LINE))
    written = [name for name, data in wanted if read_file(name, _LIMIT, dir_fd=grub) != data]
    for name, data in wanted:
        if name not in written:
            continue
        replace_file(fs, name, data, new=_NEW.format(name), dir_fd=grub)
        fs.freeze_thaw(grub)  # GRUB replays no journal (S3)
    return written
