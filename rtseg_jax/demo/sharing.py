"""What it takes to open the page on another device: an address, a token, a certificate, a QR code."""

import datetime
import io
import ipaddress
import secrets
import socket
import ssl
import tempfile
from pathlib import Path

from rtseg_jax.errors import UserError

VALID = datetime.timedelta(days=30)
ANY_ADDRESS = "0.0.0.0"
ELSEWHERE = ("192.0.2.1", 9)  # an address of documentation (RFC 5737); nothing is sent to it


def new_token() -> str:
    """128 bits of chance, as they can stand in an address."""
    return secrets.token_urlsafe(16)


def own_address() -> str:
    """This machine's IPv4 address on its network: the one it would send from. Raises `UserError` where it has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(ELSEWHERE)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"this machine is on no network ({error.strerror}); join one, or name its address with --address"
        ) from error


def check_address(text: str) -> str:
    """An IPv4 address; raises `UserError` for anything else."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise UserError(f"--address is {text!r}: it must be this machine's IPv4 address, as 192.168.1.5") from error


def tls_context(address: str) -> tuple[ssl.SSLContext, str]:
    """TLS with a certificate made now for one address; and its SHA-256, as browsers show it.

    The key stays in this process; OpenSSL takes it from a file, which is removed at once.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rtseg_jax demo")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.IPv4Address(address)), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # none but this user can look into it
        both = Path(folder) / "both.pem"
        both.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(both)
    return context, certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def qr_code(text: str) -> str:
    """A QR code for a terminal, two rows of modules in a line."""
    import segno

    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
