"""Certificates made on the spot, and Redis servers behind them."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import ssl
import subprocess
import threading
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


def program_with_tls() -> str | None:
    """Return a Redis or Valkey of this machine that speaks TLS itself; not every build does (the one in a wheel)."""
    folders = [*os.get_exec_path(), "/usr/bin", "/usr/local/bin"]
    for name in ("redis-server", "valkey-server"):
        for found in filter(None, (shutil.which(name, path=folder) for folder in folders)):
            # It listens nowhere and ends; but first it complains of an option that it does not know.
            said = subprocess.run([found, "--port", "0", "--tls-port", "0"], capture_output=True, text=True, timeout=20)
            if "Bad directive" not in said.stdout + said.stderr:
                return found
    return None


class OwnTLSRedis(RedisProcess):
    """A Redis that speaks TLS itself, on ``url``; the test itself looks in by the plain port."""

    def __init__(self, directory: Path, authority: Authority, program: str) -> None:
        certificate, key = authority.certify("server")
        port = free_port()
        options = {
            "tls-port": port,
            "tls-cert-file": certificate,
            "tls-key-file": key,
            "tls-ca-cert-file": authority.file,
            "tls-auth-clients": "no",
        }
        super().__init__(directory, program=program, more=options)
        self.url = f"rediss://127.0.0.1:{port}/0"


class TLSRedis:
    """A Redis that is reached by TLS on ``url``; the test itself looks in by the plain port. TLS ends before it."""

    def __init__(self, server: Any, authority: Authority) -> None:
        self.client = server.client
        self._port = server.celeryconfig["port"]
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*authority.certify("server"))
        self._loop = asyncio.new_event_loop()
        self._listening = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        )
        port = self._listening.sockets[0].getsockname()[1]
        self.url = f"rediss://127.0.0.1:{port}/0"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pump(reader, server_writer), self._pump(server_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._listening.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
