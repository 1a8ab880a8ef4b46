"""Certificates made on the spot, and a Redis that shows one."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.process import free_port
from harness.redis_server import RedisProcess


class Authority:
    """A certificate authority; its certificate is in ``file``."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name, self._key = directory, name, ec.generate_private_key(ec.SECP256R1())
        directory.mkdir(parents=True, exist_ok=True)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._sign(name, self._key, basic, [])
        self.file = self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for this machine, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = self._sign(name, key, x509.BasicConstraints(ca=False, path_length=None), names)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return (
            self._write(f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", key.private_bytes(*form)),
        )

    def _sign(self, name: str, key: Any, basic: x509.BasicConstraints, names: list[Any]) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(basic, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        else:
            # Python 3.13 refuses an authority that does not say that it may sign.
            usage = dict.fromkeys(
                (
                    "digital_signature",
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, content: bytes) -> Path:
        file = self._directory / name
        file.write_bytes(content)
        return file


class TLSRedis(RedisProcess):
    """A Redis that speaks TLS on ``tls_port``; the test itself looks in by the plain one."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        super().__init__(directory, name="redis-tls")
        self.tls_port = free_port()
        certificate, key = authority.certify("server")
        self.argv += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
        self.argv += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
        self.argv += ["--tls-ca-cert-file", str(authority.file)]

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}/0"
