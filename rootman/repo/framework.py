"""The Update Framework, as python-tuf has it; everything of it is imported from here.

securesystemslib, which verifies and signs for python-tuf, names two types as cryptography
does since version 40. Without the names it takes cryptography for missing. Debian 12 has
version 38, where the same types are called otherwise; they only annotate. So the names are
given before the first import of tuf: the signatures are verified by upstream's code.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import types as _types

if not hasattr(_types, "PublicKeyTypes"):
    vars(_types)["PublicKeyTypes"] = _types.PUBLIC_KEY_TYPES
    vars(_types)["PrivateKeyTypes"] = _types.PRIVATE_KEY_TYPES

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api import exceptions
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    T,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

__all__ = (
    "CryptoSigner",
    "FetcherInterface",
    "JSONSerializer",
    "MetaFile",
    "Metadata",
    "Root",
    "SSlibKey",
    "Signed",
    "Snapshot",
    "T",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "UpdaterConfig",
    "exceptions",
)
