"""The names of the files in a repository (spec/30-release.md). Pure."""

from __future__ import annotations

import re
from typing import Final

from rootman.names import parse_version

REPOSITORY: Final = "repository.json"
RELEASES: Final = "releases"
RETIRED: Final = "retired"
MANIFESTS: Final = "manifests"
OBJECTS: Final = "objects"
PACKS: Final = "packs"
METADATA: Final = "metadata"
TEMPORARY: Final = "tmp"
LOCK: Final = "lock"

FOLDERS: Final = (TEMPORARY, OBJECTS, MANIFESTS, PACKS, RELEASES)

_NO_TREE: Final = "empty"
_PACK_SUFFIX: Final = ".pack"
_RELEASE_SUFFIX: Final = ".json"
_COMPRESSED: Final = re.compile(r"([0-9a-f]{64})\.zst")
_PACK: Final = re.compile(rf"({_NO_TREE}|[0-9a-f]{{64}}){re.escape(_PACK_SUFFIX)}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
INDEX_FILE: Final = "index.json"
INDEX: Final = f"{RELEASES}/{INDEX_FILE}"


def release_file(version: int) -> str:
    """Return the name, in ``releases``, of the release ``version``."""
    return f"{version}{_RELEASE_SUFFIX}"


def parse_release_file(name: str) -> int | None:
    """Return the version of the release called ``name``, None if no release is called so."""
    if not name.endswith(_RELEASE_SUFFIX):
        return None
    return parse_version(name.removesuffix(_RELEASE_SUFFIX))


def compressed_file(digest: str) -> str:
    """Return the name of the compressed manifest or object with the SHA-256 ``digest``."""
    return f"{digest}.zst"


def parse_compressed_file(name: str) -> str | None:
    """Return the SHA-256 of the manifest or object called ``name``, None if none is called so."""
    match = _COMPRESSED.fullmatch(name)
    return match[1] if match else None


def object_folder(digest: str) -> str:
    """Return the folder in ``objects`` of the object ``digest``."""
    return digest[:2]


def release_path(version: int) -> str:
    """Return the path of the release ``version`` in a repository."""
    return f"{RELEASES}/{release_file(version)}"


def parse_release_path(path: str) -> int | None:
    """Return the version of the release at ``path``, None if no release is there."""
    folder, _, name = path.partition("/")
    return parse_release_file(name) if folder == RELEASES else None


def manifest_path(digest: str) -> str:
    """Return the path of the manifest ``digest`` in a repository."""
    return f"{MANIFESTS}/{compressed_file(digest)}"


def object_path(digest: str) -> str:
    """Return the path of the object ``digest`` in a repository."""
    return f"{OBJECTS}/{object_folder(digest)}/{compressed_file(digest)}"


def pack_file(old: str) -> str:
    """Return the name of the pack that leads from the manifest ``old``, "" for no tree."""
    return f"{old or _NO_TREE}{_PACK_SUFFIX}"


def parse_pack_file(name: str) -> str | None:
    """Return the manifest that the pack called ``name`` leads from, None if no pack is called so.

    "" is no tree.
    """
    match = _PACK.fullmatch(name)
    return match[1].replace(_NO_TREE, "") if match else None


def parse_pack_folder(name: str) -> str | None:
    """Return the manifest that the packs in the folder ``packs/name`` lead to, None for others."""
    return name if _DIGEST.fullmatch(name) else None


def pack_folder(new: str) -> str:
    """Return the path of the folder of the packs that lead to the manifest ``new``."""
    return f"{PACKS}/{new}"


def pack_path(old: str, new: str) -> str:
    """Return the path of the pack that leads from one manifest to another."""
    return f"{pack_folder(new)}/{pack_file(old)}"
