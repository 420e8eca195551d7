"""A registry on loopback that can be told to lie, to stall, to hang up and to lead astray."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.images import Image, digest, index

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


@dataclass
class Answer:
    """What is about to be sent; a fault changes it, or sends it in its own way and returns None."""

    status: int
    headers: dict[str, str]
    body: bytes


Fault = Callable[["Handler", Answer], Answer | None]


@dataclass
class _Rule:
    part: str
    fault: Fault
    left: int
    takes: int  # bytes of a request's body that are read


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    registry: FakeRegistry

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are what is tested


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 20

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {key.lower(): value for key, value in self.headers.items()}
        registry = self.server.registry
        rule = registry.rule(f"{self.command} {self.path}")
        taken = length if rule is None else min(length, rule.takes)
        seen = Seen(self.command, self.path, headers, self.rfile.read(taken))
        registry.seen.append(seen)
        answer = registry.answer(seen)
        if rule is None:
            self.send(answer)
            return
        changed = rule.fault(self, answer)
        if changed is not None:
            self.send(changed)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  the base class calls them so

    def send(self, answer: Answer) -> None:
        self.begin(answer)
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def begin(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for key, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            if value:
                self.send_header(key, value)
        self.end_headers()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def log_message(self, *_words: object) -> None:
        pass


@dataclass
class FakeRegistry:
    """A server on a free port of 127.0.0.1; a context manager.

    `login` is "name:password"; `bearer` is a realm, or "own" for this server's /token, which gives `token`.
    """

    tls: Path | None = None
    login: str = ""
    bearer: str = ""
    ranges: bool = True
    token: dict[str, object] = field(default_factory=lambda: {"token": "t0ken"})
    seen: list[Seen] = field(default_factory=list)
    rules: list[_Rule] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {"t0ken"})
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FakeRegistry:
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.registry = self
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls / "server.pem")
            plain = self._server.socket
            self._server.socket = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{'https' if self.tls else 'http'}://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, name: str, image: Image) -> str:
        """Put an image there as REPOSITORY:TAG; return the name to pull."""
        repository, _, tag = name.partition(":")
        self.blobs |= image.blobs
        for reference in (tag, image.digest):
            self.manifests[f"{repository}/{reference}"] = (image.manifest, image.media["manifest"])
        return f"{self.address}/{name}"

    def put_index(self, name: str, images: list[Image]) -> str:
        repository, _, tag = name.partition(":")
        for image in images:
            self.put(f"{repository}:of-the-index", image)
        return self.put_document(f"{repository}:{tag}", index(images), INDEX)

    def put_document(self, name: str, document: bytes, media_type: str) -> str:
        repository, _, tag = name.partition(":")
        self.manifests[f"{repository}/{tag}"] = (document, media_type)
        return f"{self.address}/{name}"

    def fault(self, part: str, fault: Fault, times: int = 1, takes: int = 1 << 30) -> None:
        """Let `fault` have the next `times` answers to requests with `part` in "METHOD PATH", after those set before.

        `takes`: bytes of their bodies that are read before.
        """
        self.rules.append(_Rule(part, fault, times, takes))

    def rule(self, request: str) -> _Rule | None:
        """Return what is to be done with "METHOD PATH", counted."""
        with self._counting:
            found = next((each for each in self.rules if each.left and each.part in request), None)
            if found is not None:
                found.left -= 1
            return found

    def asked(self, part: str) -> list[Seen]:
        return [seen for seen in self.seen if part in f"{seen.method} {seen.path}"]

    def answer(self, seen: Seen) -> Answer:
        path = urlsplit(seen.path).path
        if path == "/token":
            return self._token(seen)
        refusal = self._refusal(seen)
        if refusal is not None:
            return refusal
        if path == "/v2/":
            return Answer(200, {}, b"{}")
        if "/manifests/" in path:
            return self._manifest(path)
        return self._blob(path, seen.headers.get("range", ""))

    def _manifest(self, path: str) -> Answer:
        repository, _, reference = path.removeprefix("/v2/").rpartition("/manifests/")
        if f"{repository}/{reference}" in self.manifests:
            raw, media_type = self.manifests[f"{repository}/{reference}"]
            return Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest(raw)}, raw)
        known = any(key.startswith(repository + "/") for key in self.manifests)
        return refused(404, "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN", "not here")

    def _blob(self, path: str, wanted: str) -> Answer:
        blob = self.blobs.get(path.rpartition("/blobs/")[2])
        if blob is None:
            return refused(404, "BLOB_UNKNOWN", "no such blob")
        if not wanted or not self.ranges:
            return Answer(200, {}, blob)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(blob):
            return Answer(416, {}, b"")
        return Answer(206, {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"}, blob[start:])

    def _refusal(self, seen: Seen) -> Answer | None:
        given = seen.headers.get("authorization", "")
        if self.bearer:
            if given.removeprefix("Bearer ") in self.tokens:
                return None
            realm = f"{self.url}/token" if self.bearer == "own" else self.bearer
            challenge = f'Bearer realm="{realm}",service="the registry",scope="ignored, here"'
        elif self.login:
            if given == basic(self.login):
                return None
            challenge = 'Basic realm="r"'
        else:
            return None
        refusal = refused(401, "UNAUTHORIZED", "authentication required")
        refusal.headers["WWW-Authenticate"] = challenge
        return refusal

    def _token(self, seen: Seen) -> Answer:
        if self.login and seen.method == "GET" and seen.headers.get("authorization") not in {None, basic(self.login)}:
            return refused(401, "UNAUTHORIZED", "wrong password")
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(self.token).encode())


def basic(login: str) -> str:
    return "Basic " + b64encode(login.encode()).decode()


def refused(status: int, code: str, message: str) -> Answer:
    return Answer(status, {}, json.dumps({"errors": [{"code": code, "message": message}]}).encode())


# Faults


def fine(_handler: Handler, answer: Answer) -> Answer:
    """No fault: the answer as it is, to count requests."""
    return answer


def status(number: int, code: str = "ODD", message: str = "of the test", **headers: str) -> Fault:
    def fault(_handler: Handler, _answer: Answer) -> Answer:
        answer = refused(number, code, message)
        answer.headers |= _named(headers)
        return answer

    return fault


def redirect(target: str, number: int = 307) -> Fault:
    """Lead to `target`; {path} in it stands for the request's path."""
    return lambda handler, _answer: Answer(number, {"Location": target.replace("{path}", handler.path)}, b"")


def hang_up(handler: Handler, _answer: Answer) -> None:
    """Answer nothing: whatever was taken of the request is all that came."""
    handler.hang_up()


def cut(after: int) -> Fault:
    """Hang up after so many bytes of the body."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(answer)
        handler.wfile.write(answer.body[:after])
        handler.hang_up()

    return fault


def stall(after: int, seconds: float, going_on: threading.Event | None = None) -> Fault:
    """Send so many bytes of the body and no more: hang up after so many seconds, or once `going_on` is set."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(answer)
        handler.wfile.write(answer.body[:after])
        handler.wfile.flush()
        (going_on or threading.Event()).wait(seconds)
        handler.hang_up()

    return fault


def drip(after: int, pause: float, times: int) -> Fault:
    """Send so many bytes of the body, then a byte at a time with a pause before each; hang up after so many."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(answer)
        with contextlib.suppress(OSError):  # the client has had enough
            handler.wfile.write(answer.body[:after])
            for place in range(after, after + times):
                time.sleep(pause)
                handler.wfile.write(answer.body[place : place + 1])
                handler.wfile.flush()
        handler.hang_up()

    return fault


def endless(part: bytes, pause: float = 0.1, times: int = 600) -> Fault:
    """Send the same part of an answer's beginning again and again."""

    def fault(handler: Handler, _answer: Answer) -> None:
        with contextlib.suppress(OSError):  # the client has had enough
            for _ in range(times):
                handler.wfile.write(part)
                handler.wfile.flush()
                time.sleep(pause)
        handler.hang_up()

    return fault


def body(change: Callable[[bytes], bytes]) -> Fault:
    """Send other bytes than are right, with a length that fits them."""
    return lambda _handler, answer: Answer(answer.status, answer.headers, change(answer.body))


def without_length(change: Callable[[bytes], bytes] = lambda data: data) -> Fault:
    """Send the body to the end of the connection, with no Content-Length."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(Answer(answer.status, {**answer.headers, "Content-Length": "", "Connection": "close"}, b""))
        handler.wfile.write(change(answer.body))
        handler.hang_up()

    return fault


def chunked(change: Callable[[bytes], bytes] = lambda data: data) -> Fault:
    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(Answer(answer.status, {**answer.headers, "Content-Length": "", "Transfer-Encoding": "chunked"}, b""))
        data = change(answer.body)
        for start in range(0, len(data), 50_000):
            part = data[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    return fault


def header(**changes: str) -> Fault:
    """Change headers; "" drops one."""
    return lambda _handler, answer: Answer(answer.status, answer.headers | _named(changes), answer.body)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in headers.items()}


# Certificates


def certificates(directory: Path) -> Path:
    """Write ca.crt and server.pem (for 127.0.0.1 and localhost) into `directory`; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (directory / "ca.crt").write_bytes(_certificate("ca", authority, authority, ca=True).public_bytes(pem))
    key = server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(_certificate("server", server, authority, ca=False).public_bytes(pem) + key)
    return directory


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
