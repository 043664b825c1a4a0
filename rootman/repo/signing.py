"""Signing a repository: what is due, who may sign it, in which order it appears.

Three roles sign: ``root`` says whose keys count, ``targets`` lists the releases, and
``online`` (TUF's snapshot and timestamp) says which list is the newest, and that it still
is. With one key one person is all three (spec/36-trust.md).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rootman.errors import InvalidInput, Refused, SystemFailure
from rootman.repo import layout, roots
from rootman.repo.due import Due, Request
from rootman.repo.metadata import (
    Published,
    drop_staged,
    put,
    put_staged,
    read_published,
)
from rootman.repo.roots import ROOT
from rootman.repo.writer import open_writer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rootman.fsops import Fs
    from rootman.repo.framework import Root, SSlibKey
    from rootman.repo.metadata import Document
    from rootman.repo.writer import Writer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was signed and published, as ``targets 3``, and what still waits for whom."""

    signed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@contextmanager
def open_existing(fs: Fs, repository: str) -> Iterator[Writer]:
    """Hold a repository that is there already, as ``open_writer`` does.

    Raises:
        InvalidInput: there is none.
        RootmanError: as ``open_writer``.
    """
    _require(repository)
    with open_writer(fs, repository, None) as writer:
        yield writer


def _require(repository: str) -> None:
    if not os.path.exists(os.path.join(repository, layout.REPOSITORY)):
        raise InvalidInput(
            f"{repository}: not a repository", hint="name the folder with repository.json in it"
        )


def sign(writer: Writer, request: Request) -> Outcome:
    """Sign what the request asks for, and publish what has all its signatures.

    Readers see the whole of it or nothing, at every moment (TU-5).

    Raises:
        Refused: a key has no role here, keys are missing, or a release is not what was
            signed.
        InvalidInput: the metadata that are there are damaged.
        OSError: the system refused; the next signing finishes.
    """
    before = _read(writer)
    if before.root is None and before.staged is None:
        keys = [signer.public_key for signer in request.keys.values()]
        before = replace(before, staged=roots.first_root(keys, request.expiry(ROOT)))
    _refuse_strangers(before, request)
    if request.role == ROOT or before.root is None:
        before = replace(before, staged=_sign_root(writer, before, request))
    staged, root = before.staged, before.root
    if staged is not None:
        lacking = roots.lacking(staged, root)
        if not lacking:
            return _publish_root(writer, before, staged, request)
        if request.role == ROOT or root is None:
            return Outcome(waiting=lacking)
    if root is None:
        raise AssertionError("a repository without a root has one staged")
    due = Due(writer, before, root.signed, None, request)
    if due.lacking:
        raise Refused(
            f"these keys do not suffice to sign for {' and '.join(due.lacking)}",
            hint=f"rootman repo keys list {writer.path} shows whose do",
        )
    return Outcome(due.publish(), tuple(due.waiting))


def look_published(repository: str) -> Published:
    """Return what is signed in a repository, for whoever only looks.

    Raises:
        InvalidInput: the metadata are damaged.
        SystemFailure: they cannot be read.
    """
    where = os.path.join(repository, layout.METADATA)
    try:
        folder = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        _require(repository)
        return Published()
    except OSError as error:
        raise SystemFailure(f"{where}: {error.strerror}") from error
    try:
        return read_published(folder, where)
    except OSError as error:
        raise SystemFailure(f"{where}: {error.strerror}") from error
    finally:
        os.close(folder)


def check_keys(writer: Writer, request: Request) -> None:
    """Refuse keys that have no role here, before anything is published that they are to sign.

    Raises:
        Refused: one has none.
        InvalidInput: the metadata that are there are damaged.
        OSError: the system refused.
    """
    before = _read(writer)
    if before.root is not None or before.staged is not None:
        _refuse_strangers(before, request)


def change_keys(
    writer: Writer,
    changed: Collection[str],
    request: Request,
    *,
    add: Collection[SSlibKey] = (),
    remove: Collection[str] = (),
    threshold: int | None = None,
) -> Document[Root]:
    """Stage a root with other keys for the roles ``changed``; it counts once it is published.

    Raises:
        NotFound, InvalidInput: as ``roots.changed_root``.
        OSError: the system refused.
    """
    before = _read(writer)
    staged = before.staged
    if staged is None:
        expires = request.expiry(ROOT)
        staged = (
            roots.successor(before.root.signed, expires)
            if before.root
            else roots.first_root((), expires)
        )
    for role in changed:
        staged = roots.changed_root(
            staged.signed, role, add=add, remove=remove, threshold=threshold
        )
    put_staged(writer, staged)
    return staged


def _read(writer: Writer) -> Published:
    writer.make_folder(layout.METADATA)
    return read_published(writer.folder(layout.METADATA), f"{writer.path}/{layout.METADATA}")


def _refuse_strangers(before: Published, request: Request) -> None:
    known = {key for root in (before.root, before.staged) if root for key in root.signed.keys}
    for name, signer in request.keys.items():
        if signer.public_key.keyid not in known:
            raise Refused(f"{name}: no key of this repository", hint="rootman repo keys list REPO")


def _sign_root(writer: Writer, before: Published, request: Request) -> Document[Root]:
    """Return the staged root with the signatures of the request, kept for those who sign next."""
    staged = before.staged
    if staged is None:
        if before.root is None:
            raise AssertionError("a repository without a root has one staged")
        staged = roots.successor(before.root.signed, request.expiry(ROOT))
    staged = roots.sign_root(staged, before.root, request.keys.values())
    put_staged(writer, staged)
    return staged


def _publish_root(
    writer: Writer, before: Published, staged: Document[Root], request: Request
) -> Outcome:
    """Publish the staged root, with all that it makes necessary.

    What readers with the old root take for signed is written before the new one, so that
    no reader finds what it cannot verify. Where the old keys do not sign any more, the
    root comes first: they are not to be needed, and readers see the gap for a moment.
    """
    old = before.root.signed if before.root else None
    due = Due(writer, before, staged.signed, old, request)
    title = f"root {staged.signed.version}"
    if due.lacking:
        keys = " and ".join(due.lacking)
        return Outcome(waiting=(f"{title} is signed; to publish it, the keys of {keys} sign too",))
    if old is None or due.is_valid(old):
        signed = due.publish()
        put(writer, [staged])
    else:
        put(writer, [staged])
        signed = due.publish()
    drop_staged(writer)
    return Outcome((title, *signed), tuple(due.waiting))
