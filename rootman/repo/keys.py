"""Keys that sign metadata: ed25519 by default, PKCS#8 PEM files, the public half beside.

Out of scope: what a key may sign; the root metadata say that (``signing``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from rootman.errors import InvalidInput, NotFound, Refused, SystemFailure
from rootman.repo.framework import CryptoSigner, SSlibKey

PUBLIC_SUFFIX: Final = ".pub"

_SIZE_LIMIT: Final = 1 << 16  # bytes; a key of any kind has a few thousand
_PRIVATE: Final = b"PRIVATE KEY-----"


def make_key(path: str) -> SSlibKey:
    """Make a key pair: ``path`` for its owner alone, ``path.pub`` to be given away.

    Raises:
        Refused: one of the files is there already.
        SystemFailure: they cannot be written.
    """
    signer = CryptoSigner.generate_ed25519()
    private = serialization.load_pem_private_key(signer.private_bytes, None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # The public half first: where its name is taken, no private one is left alone.
    _write_new(path + PUBLIC_SUFFIX, public, 0o644)
    try:
        _write_new(path, signer.private_bytes, 0o600)
    except BaseException:
        with suppress(OSError):
            os.unlink(path + PUBLIC_SUFFIX)
        raise
    return signer.public_key


def read_signer(path: str) -> CryptoSigner:
    """Return what signs with the private key in the file ``path``.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it holds no private key that we can use.
        SystemFailure: it cannot be read.
    """
    data = _read(path)
    if _PRIVATE not in data:
        raise InvalidInput(f"{path}: not a private key in PEM", hint="rootman repo keys new FILE")
    try:
        return CryptoSigner(serialization.load_pem_private_key(data, None))
    except TypeError as error:
        raise InvalidInput(
            f"{path}: the key is encrypted", hint="decrypt it: openssl pkey -in FILE -out FILE"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{path}: not a private key that can sign here") from error


def read_public_key(path: str) -> SSlibKey:
    """Return the public key in the file ``path``, which may be a private key's, too.

    Raises:
        NotFound, InvalidInput, SystemFailure: as for ``read_signer``.
    """
    data = _read(path)
    if _PRIVATE in data:
        return read_signer(path).public_key
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{path}: not a public key in PEM") from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_SIZE_LIMIT)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such key", hint=f"rootman repo keys new {path}") from error
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error


def _write_new(path: str, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet: a key is never overwritten."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(fd, mode)
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileExistsError as error:
        raise Refused(
            f"{path} exists; a key is never overwritten", hint="choose another name"
        ) from error
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error
