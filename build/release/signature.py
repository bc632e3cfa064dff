"""Signs with a key that is given, in the forms that cosign verifies: a file's signature, and a signed statement.

A signature is ECDSA on the curve P-256 over SHA-256: in a bundle of Sigstore's, as cosign 3 reads it, and alone, in
base64, as openssl and cosign 2 do. openssl makes it, so that no secret passes through this program.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Where openssl takes a key's passphrase from, if the key has one.
PASSWORD = "CNI_CHAIN_KEY_PASSWORD"  # noqa: S105  # a variable's name

_CURVE = "ASN1 OID: prime256v1"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT = "application/vnd.in-toto+json"


class SigningError(Exception):
    """The key can't be used; the message names its file, and what to do."""


@dataclass(frozen=True)
class Key:
    """A private key in a file, which was tried."""

    file: Path
    public: bytes  # as DER

    def sign(self, blob: bytes) -> str:
        """Return the signature, in base64. Raises SigningError."""
        made = _openssl("dgst", "-sha256", *_private(self.file, "-sign"), stdin=blob, key=self.file)
        return base64.b64encode(made).decode()

    def bundle(self, blob: bytes, signature: str) -> bytes:
        """Return a signature of a blob in its bundle, for `cosign verify-blob`."""
        digest = {"algorithm": "SHA2_256", "digest": base64.b64encode(hashlib.sha256(blob).digest()).decode()}
        return self._bundle({"messageSignature": {"messageDigest": digest, "signature": signature}})

    def signed_statement(self, statement: bytes) -> bytes:
        """Return an in-toto statement, signed, in its bundle, for `cosign verify-blob-attestation`.

        Raises SigningError.
        https://github.com/secure-systems-lab/dsse/blob/master/protocol.md: the kind of the content is signed with it.
        """
        signed = b" ".join((b"DSSEv1", *_counted(_STATEMENT.encode()), *_counted(statement)))
        payload, signatures = base64.b64encode(statement).decode(), [{"sig": self.sign(signed)}]
        return self._bundle({"dsseEnvelope": {"payloadType": _STATEMENT, "payload": payload, "signatures": signatures}})

    def _bundle(self, content: dict[str, Any]) -> bytes:
        # https://github.com/sigstore/protobuf-specs. A verifier is given the key, and the bundle has only a hint of it.
        hint = base64.b64encode(hashlib.sha256(self.public).digest()).decode()
        bundle = {"mediaType": _BUNDLE, "verificationMaterial": {"publicKey": {"hint": hint}}, **content}
        return json.dumps(bundle, indent=1).encode() + b"\n"


def key(file: Path) -> Key:
    """Return the private key in a file: PEM, with or without a passphrase. Raises SigningError."""
    described = _openssl("pkey", *_private(file, "-in"), "-noout", "-text_pub", key=file).decode(errors="replace")
    if _CURVE not in described:
        raise SigningError(
            f"{file}: is not a key of the curve P-256, which cosign verifies; make one: "
            f"openssl ecparam -name prime256v1 -genkey -noout -out {file}"
        )
    return Key(file, _openssl("pkey", *_private(file, "-in"), "-pubout", "-outform", "DER", key=file))


def _counted(part: bytes) -> tuple[bytes, bytes]:
    return str(len(part)).encode(), part


def _private(file: Path, option: str) -> list[str]:
    # Without a passphrase in the key, openssl does not look at it. Unset, it would ask, and a build has nobody to ask.
    return [option, str(file), "-passin", f"env:{PASSWORD}"]


def _openssl(*arguments: str, key: Path, stdin: bytes = b"") -> bytes:
    environ = {PASSWORD: ""} | dict(os.environ)
    try:
        done = subprocess.run(["openssl", *arguments], input=stdin, env=environ, capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError as error:
        raise SigningError("openssl is not installed: build/packages openssl") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise SigningError(
            f"{key}: openssl can't use this key ({said[0] if said else done.returncode}); "
            f"a private key in PEM is needed, and its passphrase, if it has one, in {PASSWORD}"
        )
    return done.stdout
