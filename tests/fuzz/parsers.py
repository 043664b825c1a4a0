"""What must hold of any bytes whatever that a parser of rootman is given.

Each check takes bytes and returns; what it raises is a finding. The same in all: only an
error that rootman raises on purpose (EX-4) may come out, and what is accepted is written
again as it was. Hangs and memory without bounds are for whoever calls to notice.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from rootman import (
    bundles,
    comparison,
    composition,
    edits,
    manifest,
    release,
    seal,
    sizes,
    state,
    textstream,
)
from rootman.boot.block import (
    BLOCK_SIZE,
    SECTOR,
    SIGNATURE,
    parse_block,
    serialise_block,
    without_trial,
)
from rootman.delta import is_directory
from rootman.errors import InvalidInput, InvalidManifest
from rootman.layer.record import read_layer
from rootman.manifest import HEADER, line_path
from rootman.merge import accounts, rules
from rootman.packs.format import MAGIC, Role, chunk, parse_header
from rootman.packs.recipe import Memory
from rootman.packs.revision import revised
from rootman.packs.streams import PackFile, Streams
from rootman.packs.unpacking import unpack
from rootman.repo import index, offline
from rootman.repo.layout import release_path
from rootman.seal import SealRecord
from rootman.state import Seal
from rootman.store import (
    DIGESTS_FILE,
    INODES_FILE,
    LAYER_FILE,
    MANIFEST_FILE,
    SEAL_FILE,
    STAMPS_FILE,
)
from rootman.wanted import CompressedManifest, Delta
from tests.fuzz.documents import NEXT_STREAM, PACK_NEW, PACK_OLD, STREAMS
from tests.fuzz.metadata import check_metadata
from tests.fuzz.model import is_manifest, is_ordered, lines_of, manifest_of
from tests.numbers import number
from tests.packing import Files, files_of, header, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.bundles import BundleList

# --- names and lines ---------------------------------------------------------------------


def check_names(data: bytes) -> None:
    """MF-4, MF-6: there is one way to write a name, and one to write a path."""
    if b"\0" not in data:
        assert manifest.decode(manifest.encode(data)) == data
    with suppress(InvalidManifest):
        assert manifest.encode(manifest.decode(data)) == data
    with suppress(InvalidManifest):
        assert manifest.path_field(manifest.field_path(data)) == data


def check_line(data: bytes) -> None:
    """MF-3, EX-3: what is accepted is canonical, what is said one line of printable ASCII."""
    try:
        entry = manifest.parse_line(data)
    except InvalidManifest as error:
        said = str(error)
    else:
        said = ""
        assert manifest.format_line(entry) == data
        assert manifest.line_path(data) == manifest.path_field(entry.path)
    assert re.fullmatch("[ -~]*", said)


# --- streams of lines --------------------------------------------------------------------


_LINE: Final = re.compile(rb"[!-~]+ [ -~]*\n")


def check_streams(data: bytes) -> None:
    """MF-1, MF-2, MF-13: two manifests, parted by a NUL, cut into pieces of ``data[0]`` bytes."""
    size = 1 + (data[0] if data else 0)
    old, _, new = data[1:].partition(b"\0")
    lines = {one: _lines(one, size) for one in (old, new)}
    for one, found in lines.items():
        assert (found is not None) == is_ordered(one)
        if found is not None:
            assert HEADER + b"".join(found) == one
            if all(map(_LINE.fullmatch, found)):  # known means: parsed before
                assert list(comparison.known_lines(_cut(one, size))) == found
                _check_lookups(one, found, size)
    if (ours := lines[old]) is not None:
        _check_comparison(old, ours, new, lines[new], size)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _lines(data: bytes, size: int) -> list[bytes] | None:
    try:
        return list(comparison.lines(_cut(data, size)))
    except InvalidManifest:
        return None


def _check_lookups(data: bytes, lines: list[bytes], size: int) -> None:
    fields = [line_path(line) for line in lines][::2]
    assert list(comparison.select(_cut(data, size), fields)) == list(
        zip(fields, lines[::2], strict=True)
    )
    below = comparison.any_below(_cut(data, size), fields)
    starts = tuple(field + b"/" for field in fields)
    found = [line_path(line) for line in lines if starts and line_path(line).startswith(starts)]
    assert below in found if found else below is None


def _check_comparison(
    old: bytes, ours: list[bytes], new: bytes, theirs: list[bytes] | None, size: int
) -> None:
    try:
        changes = list(comparison.compare(_cut(old, size), _cut(new, size + 1)))
    except InvalidManifest:
        assert theirs is None
        return
    assert theirs is not None
    assert [one.old for one in changes if one.old] == [one for one in ours if one not in theirs]
    assert [one.new for one in changes if one.new] == [one for one in theirs if one not in ours]


# --- whole manifests ---------------------------------------------------------------------


class Judged(Enum):
    """What an upgrade says to a manifest."""

    SOUND = "sound"
    REFUSED = "refused"


def judge(old: bytes | None, new: bytes) -> Judged:
    """Vet the manifest ``new`` as an upgrade does, from a tree with the manifest ``old``."""
    wanted = _Plain(new)
    seed = cast("SealRecord", _Sealed(old)) if old is not None else None
    before = lines_of(old) if old is not None else []
    directories = {line_path(line) for line in before if is_directory(line)}
    delta = Delta(wanted, seed, [])
    try:
        entries = new.count(b"\n") - 1
        delta.check(directories, entries=entries, seed_entries=len(before))
    except InvalidInput:
        return Judged.REFUSED
    after = dict.fromkeys(lines_of(new))
    changed = {change.new for change in delta}
    for inode, path in delta.staying.items():
        names = [line for line in after if line_path(line) == manifest.path_field(path)]
        assert [manifest.parse_line(line).inode for line in names] == [inode]
        assert not changed & set(names)
    return Judged.SOUND


class _Plain(CompressedManifest):
    """A manifest that nobody compressed, named by its hash as it should be."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), hashlib.sha256(data).hexdigest())
        self._data = data

    def stream(self) -> Iterator[bytes]:
        return iter(_cut(self._data, 4096))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A seal record as far as ``Delta`` looks into it."""

    data: bytes

    @contextmanager
    def manifest(self) -> Iterator[Iterator[bytes]]:
        yield iter([self.data])


def check_manifests(data: bytes) -> None:
    """MF-13: a manifest is judged alike from nothing and from any tree (two, parted by a NUL)."""
    old, _, new = data.partition(b"\0")
    assert (judge(None, old) is Judged.SOUND) == is_manifest(old)
    if is_manifest(old):
        assert (judge(old, new) is Judged.SOUND) == is_manifest(new)


# --- edits -------------------------------------------------------------------------------


def check_edits(data: bytes) -> None:
    """ST-19: a manifest and edits of one, parted by a NUL, fit or are refused."""
    size = 1 + (data[0] if data else 0)
    old, _, new = data[1:].partition(b"\0")
    with suppress(InvalidInput):
        found = list(edits.parse(new))
        assert list(edits.parse(edits.serialise(found))) == found
        made = b"".join(edits.edited(_cut(old, size), found))
        if is_ordered(old) and is_ordered(made):
            back = edits.inverted(comparison.compare([old], [made]))
            assert b"".join(edits.edited([made], back)) == old


# --- bundles -----------------------------------------------------------------------------


def check_bundle(data: bytes) -> None:
    """BU-1: what is said of a list has its line; what is accepted, written anew, says the same."""
    try:
        found = bundles.parse_list(data, "list")
    except InvalidInput as error:
        said = str(error)
    else:
        said = "list:1: "
        _check_list(data, found)
    assert re.fullmatch(r"list:( names|[0-9]+: )[ -~]*", said)


def _check_list(data: bytes, found: BundleList) -> None:
    for path in found.paths:
        assert manifest.path_field(manifest.field_path(path)) == path != manifest.ROOT
    lines = map(bytes.strip, data.split(b"\n"))
    said = {number for number, one in enumerate(lines, 1) if one and not one.startswith(b"#")}
    assert {*found.paths.values(), *found.includes.values()} <= said
    again = [path.removeprefix(b".") for path in found.paths]
    again += [b"include " + name.encode() for name in found.includes]
    if found.description:
        again.append(b"description " + found.description.encode())
    other = bundles.parse_list(b"\n".join(again), "again")
    assert list(other.paths) == list(found.paths)
    assert list(other.includes) == list(found.includes)
    assert other.description == found.description


def check_composition(data: bytes) -> None:
    """BU-5, BU-6: base and two bundles, parted by NULs, make what they are or are refused."""
    size = 1 + (data[0] if data else 0)
    base, *others = (*data[1:].split(b"\0", 2), HEADER, HEADER)[:3]
    made = None
    with suppress(InvalidManifest):
        lines = composition.merged([_cut(one, size + 1) for one in others])
        made = b"".join(composition.composed(_cut(base, size), lines))
    assert made is None or all(map(is_ordered, others))
    if not all(map(is_ordered, (base, *others))):
        return  # whatever came of a base in disorder, its reader refuses
    more = {line for one in others for line in _raw_lines(one)}
    whole = sorted([*_raw_lines(base), *more], key=line_path)
    if whole and line_path(whole[0]) < HEADER:
        return  # it comes before the header, and is no manifest
    if len({line_path(line) for line in whole}) < len(whole):
        assert made is None
        return
    assert made == HEADER + b"".join(whole)
    lines = composition.merged([[one] for one in others])
    assert b"".join(composition.without(_cut(made, size), lines)) == base


def _raw_lines(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.removeprefix(HEADER).split(b"\n")[:-1]]


# --- documents ---------------------------------------------------------------------------


def check_release(data: bytes) -> None:
    """RL-1, RL-2: what is accepted says the same when it is written."""
    with suppress(InvalidInput):
        found = release.parse_release(data, "7.json")
        written = release.serialise(found)
        assert release.parse_release(written, "7.json") == found
        assert _same(json.loads(written), json.loads(data))
    with suppress(InvalidInput):
        name = release.parse_repository(data, "repository.json")
        assert release.parse_repository(release.serialise_repository(name), "") == name


def check_index(data: bytes) -> None:
    """RL-13, RL-2: what is accepted says the same when it is written."""
    with suppress(InvalidInput):
        versions = index.parse_index(data, "index.json")
        written = index.serialise_index(versions)
        assert index.parse_index(written, "index.json") == versions
        assert _same(json.loads(written), json.loads(data))


def _same(one: object, other: object) -> bool:
    """Return whether two documents are equal; ``1`` is neither ``true`` nor ``1.0``."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def check_state(data: bytes) -> None:
    """ST-5, ST-13, ST-15, ST-17."""
    with suppress(InvalidInput):
        found = state.parse_seal(data, SEAL_FILE)
        assert state.parse_seal(found.serialise(), SEAL_FILE) == found
    with suppress(InvalidInput):
        settings = state.parse_settings(data, "state.json")
        assert state.parse_settings(settings.serialise(), "state.json") == settings
    with _directory({"sizes.json": data}) as fd:
        kept = sizes._read(cast("Any", SimpleNamespace(control=fd)))
        sizes._known(kept, kept.get("key"), [number(1), number("2.1")])


# --- the seal record ---------------------------------------------------------------------

_ENTRIES: Final = 4


def check_record(data: bytes) -> None:
    """ST-6 to ST-8, ST-17, ST-28: ``data[0]`` says whether the rest is compressed already."""
    compressed = bool(data and data[0] & 1)
    content = data[1:] if compressed else seal.compressed(data[1:])
    summary = Seal(1, hashlib.sha256(data[1:]).hexdigest(), _ENTRIES, 0, 0).serialise()
    names = (MANIFEST_FILE, INODES_FILE, DIGESTS_FILE, STAMPS_FILE, LAYER_FILE)
    files = dict.fromkeys(names, content)
    with _directory({SEAL_FILE: summary, **files}) as fd:
        record = SealRecord(fd, "record")
        sound = record.is_sound()
        inodes = _tried(record.inodes)
        digests = _tried(record.digests)
        stamps = _tried(lambda: record.stamps(["a", "b"]))
        layer = _tried(lambda: read_layer(record))
        with record.manifest() as stream:
            text = _tried(lambda: b"".join(stream))
    if not compressed:
        assert text == data[1:]
    assert not sound or (inodes is not None and text is not None)
    assert stamps is None or (len(text or b"") == 16 and stamps.keys() == {"a", "b"})
    if inodes is not None:
        assert len(inodes) == _ENTRIES
        assert seal.pack_inodes(inodes) == seal.compressed(text or b"")
    if layer is not None:
        with _directory({LAYER_FILE: layer.serialise()}) as fd:
            assert read_layer(SealRecord(fd, "record")) == layer
    if digests is not None:
        again = b"".join(textstream.decompress(io.BytesIO(seal.pack_digests(digests)), ""))
        assert seal.unpack_digests(again, "") == digests


def _tried(read: Callable[[], Any]) -> Any:  # noqa: ANN401 - passed through
    with suppress(InvalidInput):
        return read()
    return None


# --- packs -------------------------------------------------------------------------------


class _WatchedFiles(Files):
    """The old tree's files; what is asked of them must be what the system takes (PK-11)."""

    @contextmanager
    def open(self, path: bytes, *, expanded: bool) -> Iterator[Memory]:
        parts = path.split(b"/")
        assert path in (b"", b".") or not {b"", b".", b".."} & set(parts)
        assert b"\0" not in path
        with super().open(path, expanded=expanded) as source:
            yield _WatchedSource(source)

    @contextmanager
    def open_made(self, digest: str, *, expanded: bool) -> Iterator[Memory]:
        assert re.fullmatch("[0-9a-f]{64}", digest)
        with super().open_made(digest, expanded=expanded) as source:
            yield _WatchedSource(source)


class _WatchedSource(Memory):
    """A source that is asked only for what the system takes, and for no more than a batch makes."""

    def __init__(self, source: Memory) -> None:
        super().__init__(source.getvalue())

    def seek(self, place: int, whence: int = 0, /) -> int:
        assert whence == 0
        assert 0 <= place <= 2**62
        return super().seek(place)

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 <= size <= _MOST_AT_ONCE
        return super().read(size)


_MOST_AT_ONCE: Final = 1 << 20


def check_pack(data: bytes) -> None:
    """PK-5 to PK-12: a header, or the chunks of a pack between two trees, or its streams."""
    if data.startswith(MAGIC):
        with suppress(InvalidInput):
            found = parse_header(data, "pack")
            assert parse_header(found.serialise(), "pack") == found
        return
    body = data
    if data.startswith(STREAMS):
        streams = zip(Role, data.removeprefix(STREAMS).split(NEXT_STREAM), strict=False)
        body = b"".join(chunk(role, stored(one)) for role, one in streams)
    _check_chunks(body)


def _check_chunks(body: bytes) -> None:
    old, new = manifest_of(PACK_OLD), manifest_of(PACK_NEW)
    with suppress(InvalidInput):
        pack = PackFile(io.BytesIO(header().serialise() + body), "pack")
        streams = Streams(pack, pack.header, "pack")
        with suppress(InvalidInput):
            made = revised(comparison.known_lines([old]), streams[Role.MANIFEST], len(new))
            assert sum(map(len, made)) <= len(new)
        files = _WatchedFiles(files_of(PACK_OLD))
        for entry, content in unpack(comparison.known_lines([new]), streams, files):
            pieces = list(content)
            assert all(len(piece) <= _MOST_AT_ONCE for piece in pieces)
            files.made[entry.sha256] = b"".join(pieces)


_MEMORY: Final = "/dev/shm"  # noqa: S108 - the directory is made by mkdtemp


@contextmanager
def _directory(files: dict[str, bytes]) -> Iterator[int]:
    """Open a directory in memory with these files."""
    with tempfile.TemporaryDirectory(prefix="rootman-fuzz-", dir=_MEMORY) as path:
        for name, data in files.items():
            with open(f"{path}/{name}", "wb") as out:
                out.write(data)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)


# --- a release in one file ---------------------------------------------------------------


_SOME_HASH: Final = "0" * 64


def check_offline(data: bytes) -> None:
    """OF-1, OF-3: what is in any file has its size, and comes out of that file."""
    fd = os.memfd_create("offline")
    try:
        os.write(fd, data)
        with suppress(InvalidInput), offline.OfflineSource(f"/proc/self/fd/{fd}") as source:
            versions = source.versions()
            assert versions == sorted(set(versions))
            source.origins(_SOME_HASH)
            for version in versions:
                path = release_path(version)
                found = source.read(path, len(data))
                assert len(found) == source._members[path][1]
                assert found in data
    finally:
        os.close(fd)


# --- the boot block ----------------------------------------------------------------------


def check_block(data: bytes) -> None:
    """BT-1, BT-2, BT-3: what is read is written so that all loaders read it, in one sector."""
    boot = parse_block(data)
    assert (boot is None) == (not data.startswith(SIGNATURE))
    if boot is None:
        return
    written = serialise_block(boot)
    assert len(written) == BLOCK_SIZE
    assert not written[SECTOR:].strip(b"#")
    again = parse_block(written)
    assert again is not None
    assert again.bad == boot.bad[len(boot.bad) - len(again.bad) :]
    trial = boot if boot.pending else without_trial(boot)
    assert replace(again, bad=()) == replace(trial, bad=())


def check_configuration(data: bytes) -> None:
    """MG-9, MG-10: rules are refused or taken; what one side left alone is as on the other."""
    with suppress(InvalidInput):
        rules.parse_rules(data, "merge.toml")
    one, _, other = data.partition(b"\0")
    for path in sorted(accounts.ACCOUNT_FILES):
        for sides in ((one, one, other), (one, other, one), (one, other, other)):
            found = accounts.merge_accounts(path, *sides)
            if found is not None:
                result, wanted = (text.split(b"\n") for text in (found.content, other))
                assert sorted(filter(None, result)) == sorted(filter(None, wanted))
                assert not found.losses


CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "names": check_names,
    "line": check_line,
    "streams": check_streams,
    "manifests": check_manifests,
    "edits": check_edits,
    "bundle": check_bundle,
    "composition": check_composition,
    "release": check_release,
    "index": check_index,
    "state": check_state,
    "block": check_block,
    "record": check_record,
    "metadata": check_metadata,
    "pack": check_pack,
    "offline": check_offline,
    "configuration": check_configuration,
}
