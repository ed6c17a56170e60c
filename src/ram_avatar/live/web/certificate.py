"""TLS certificates. Beyond loopback, browsers give a page the camera only over HTTPS."""

import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...core.cache import cache_folder, discard_damaged
from ...core.errors import UserError
from ...core.files import atomic_file, disk_errors
from ...core.progress import SILENT, Progress
from .addresses import reachable_address

_DAYS = 397  # browsers reject certificates valid for longer
_OWN = "live-certificate.pem"


def own_certificate(host: str, folder: Path | None = None, progress: Progress = SILENT) -> Path:
    """Return a self-signed certificate. Browsers warn about it once, and show its fingerprint.

    It is kept in the cache folder, so that the warning appears only once, and replaced when it expires, the address
    changes, or it is damaged.

    Returns:
        A PEM file with the key and the certificate, readable by the user only.

    Raises:
        UserError: it cannot be written.
    """
    path = (folder or cache_folder(progress)) / _OWN
    names = _names(host)
    with disk_errors(path):
        if os.path.lexists(path):
            try:
                check_certificate(path)
                if _still_serves(path, names):
                    return path
            except (UserError, ValueError):
                discard_damaged(path, progress)
        with atomic_file(path) as partial:
            partial.touch(0o600)
            partial.write_bytes(_make(names))
    return path


def _still_serves(path: Path, names: list[x509.GeneralName]) -> bool:
    """Return whether a certificate is valid for some more days, and for the given names.

    Raises:
        ValueError: it is damaged, or none of ours.
    """
    made = x509.load_pem_x509_certificate(path.read_bytes())
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    try:
        covered = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ValueError(str(error)) from None
    return left.days > 7 and set(names) <= set(covered)


def _names(host: str) -> list[x509.GeneralName]:
    names = {"localhost", socket.gethostname(), host, reachable_address(host)} - {"", "0.0.0.0", "::"}
    return [_name(name) for name in sorted(names)] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make(names: list[x509.GeneralName]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RAM-Avatar on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(path: Path) -> str:
    """Return the SHA-256 fingerprint of a certificate, as browsers show it."""
    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex(":").upper()


def check_certificate(path: Path) -> None:
    """Check a PEM file of the user's.

    Raises:
        UserError: it is missing, or does not hold a private key and its certificate.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password=lambda: "")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: needs a private key (without password) and its certificate, both as PEM ({error})"
        ) from None
