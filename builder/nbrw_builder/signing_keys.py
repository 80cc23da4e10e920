"""Keys in PEM files: signing with them, checking with them. By `cryptography` (extra ``sign``).

As Apptainer (`sign --key`) and cosign use them: RSA with PKCS #1 1.5, ECDSA, Ed25519; SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbrw_builder.errors import HostError
from nbrw_runtime.errors import UsageError

PASSWORD = "NBRW_KEY_PASSWORD"
#: The private keys of cosign's own making.
COSIGN_MARKS = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with; ``name`` says where it is from."""

    key: Any
    name: str

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of its SubjectPublicKeyInfo."""
        return fingerprint(self.key)

    @property
    def words(self) -> str:
        """The key for people."""
        return f"the key {self.name} (SHA-256 {self.fingerprint[:16]})"

    def valid(self, signature: bytes, data: bytes) -> bool:
        """Whether the signature of these bytes is by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            elif isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            elif isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, data)
            else:
                raise UsageError(f"check with {self.name}: give an RSA, ECDSA or Ed25519 key")
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """A key to sign with."""

    key: Any
    name: str

    @property
    def public(self) -> PublicKey:
        """Its other half."""
        return PublicKey(self.key.public_key(), self.name)

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

        if isinstance(self.key, rsa.RSAPrivateKey):
            return bytes(self.key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return bytes(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return bytes(self.key.sign(data))
        raise UsageError(f"sign with {self.name}: give an RSA, ECDSA or Ed25519 key")


def fingerprint(key: Any) -> str:
    """The SHA-256 of a public key's SubjectPublicKeyInfo, as hexadecimal digits."""
    from cryptography.hazmat.primitives import serialization

    data = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(data).hexdigest()


def read_key(path: Path, act: str) -> bytes:
    """The bytes of a key's file. Raises UsageError; HostError without `cryptography`."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise HostError(
            f"{act}: the library cryptography is not installed (`pip install 'nbrw[sign]'`)"
        ) from None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{act} {path}: {error.strerror}; name a PEM file") from error


def private_key(path: Path) -> PrivateKey:
    """The private key in a PEM file; its password is in ``$NBRW_KEY_PASSWORD``.

    Raises UsageError, HostError.
    """
    from_file = read_key(path, "sign with")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    password = os.environ.get(PASSWORD)
    try:
        key = serialization.load_pem_private_key(from_file, password and password.encode())  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(
            f"sign with {path}: {error}; put the key's password into ${PASSWORD}, or take it out"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"sign with {path}: no private key in PEM, or a wrong password in ${PASSWORD}: {error}"
        ) from error
    return PrivateKey(key, str(path))


def public_key(path: Path) -> PublicKey:
    """The public key in a PEM file, or that of the certificate in it: who issued the certificate
    is not asked. Raises UsageError, HostError.
    """
    data = read_key(path, "check with")
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        if b"BEGIN CERTIFICATE" in data:
            return PublicKey(x509.load_pem_x509_certificate(data).public_key(), str(path))
        return PublicKey(serialization.load_pem_public_key(data), str(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"check with {path}: no public key in PEM: {error}") from error
