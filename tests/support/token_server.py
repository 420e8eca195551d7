"""Hands out tokens as auth.docker.io does (distribution: token authentication).

token_server.py DIRECTORY ADDRESS NAME USER:PASSWORD: anybody may pull, the user may push below his name.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


class Signer:
    """Signs tokens in RS256 with the key whose certificate the registry trusts."""

    def __init__(self, directory: Path, issuer: str) -> None:
        key = serialization.load_pem_private_key((directory / "tokens.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key
        self._issuer = issuer
        certificate = x509.load_pem_x509_certificate((directory / "tokens.pem").read_bytes())
        self._chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]

    def token(self, service: str, scopes: list[str], user: str) -> str:
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": self._chain}
        claims = {
            "iss": self._issuer,
            "sub": user,
            "aud": service,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [access for scope in scopes if (access := granted(scope, user))],
        }
        text = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{encoded(signature)}"


def granted(scope: str, user: str) -> dict[str, object] | None:
    """What may not be is left out, as the hub leaves it out: a user may push below his own name."""
    kind, name, actions = scope.rsplit(":", 1)[0].split(":", 1) + [scope.rsplit(":", 1)[1]]
    own = bool(user) and name.startswith(user + "/")
    allowed = [action for action in actions.split(",") if action == "pull" or own]
    return {"type": kind, "name": name, "actions": allowed} if allowed else None


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def handler(signer: Signer, login: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            if given not in ("", "Basic " + base64.b64encode(login.encode()).decode()):
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            user = login.partition(":")[0] if given else ""
            asked = parse_qs(urlsplit(self.path).query)
            scopes = [scope for value in asked.get("scope", []) for scope in value.split(" ")]
            token = signer.token(asked.get("service", [""])[0], scopes, user)
            body = json.dumps({"token": token, "access_token": token, "expires_in": 300}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    return Handler


def main(directory: Path, address: str, name: str, login: str) -> None:
    server = ThreadingHTTPServer((address, 443), handler(Signer(directory, name), login))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
