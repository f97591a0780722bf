"""A certificate authority for every cluster, made for four certificates and then forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=3650)
"""Longer than any cluster lives: the key that could renew them is not kept."""

ROLES = ("scheduler", "worker", "client", "daemon")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One cluster's authority and the certificate and key of each role, PEM.

    Attributes
    ----------
    ca
        The authority's certificate. Its key is not kept, so nobody can make another certificate of the cluster.
    certificates, keys
        By role: "scheduler", "worker", "client", "daemon". The last is the daemon's alone, for links by TLS. Each names
        `<uid>.<role>` and no host: Dask's TLS checks the chain alone, and addresses are not known yet when it is made.
    """

    ca: str
    certificates: dict[str, str]
    keys: dict[str, str] = field(repr=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _builder(subject: str, issuer: str, public: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        # a clock that is a little behind at the other end must not refuse it
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALID)
    )


def issue(uid: str, now: datetime | None = None) -> Credentials:
    """The credentials of a new cluster.

    Parameters
    ----------
    uid
        The cluster's identity.
    now
        When they become valid; the present by default.
    """
    now = now or datetime.now(timezone.utc)
    ca_name = f"{uid}.ca"
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .sign(ca_key, hashes.SHA256())
    )
    certificates, keys = {}, {}
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(f"{uid}.{role}", ca_name, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{uid}.{role}")]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        certificates[role], keys[role] = _pem(certificate), _key_pem(key)
    return Credentials(ca=_pem(ca), certificates=certificates, keys=keys)
