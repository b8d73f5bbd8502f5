"""A certificate authority of the test's own, and a TLS server in front of the simulator."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates; `path` is the file that makes a program trust it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("kitefeed test authority")
        certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = directory / "authority.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def certificate(self, host: str, *, is_self_signed: bool = False, days: int = 1) -> Path:
        """Key and certificate for `host` in one file. days: how long from now it is valid."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(host)
        issuer, signer = (name, key) if is_self_signed else (self._name, self._key)
        certificate = (
            _builder(name, issuer, key, days)
            .add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        path = self._directory / f"{host}-{is_self_signed}-{days}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 1
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + days * DAY)
    )


class TlsServer:
    """Decrypts and passes on to `upstream`. `heard` is what clients sent once TLS stood: nothing,
    if they refused the certificate."""

    def __init__(self, certificate: Path, upstream: str, address: str = "127.0.0.1") -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 0)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._server = socket.create_server((address, 0), family=family)
        self._open: list[socket.socket] = [self._server]
        self.heard: list[bytes] = []
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            client = self._context.wrap_socket(connection, server_side=True)
            upstream = socket.create_connection(self._upstream, timeout=5)
            self._open += [client, upstream]
            threading.Thread(target=_pump, args=(upstream, client), daemon=True).start()
            while data := client.recv(65_536):
                self.heard.append(data)
                upstream.sendall(data)
        except OSError:
            connection.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    source.settimeout(None)
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.close()
    except OSError:
        pass


class HttpProxy:
    """Answers `CONNECT` with `answer`, and then passes on to a port of this host, whatever host was
    asked for. `asked`: the heads of the requests."""

    def __init__(self, to_port: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self._to = ("127.0.0.1", to_port)
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._server]
        self.asked: list[bytes] = []
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.asked.append(head)
            client.sendall(self._answer)
            upstream = socket.create_connection(self._to, timeout=5)
            self._open += [client, upstream]
            threading.Thread(target=_pump, args=(upstream, client), daemon=True).start()
            _pump(client, upstream)
        except OSError:
            client.close()
