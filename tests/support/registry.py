"""Debian's docker-registry as the tests need it: plain on loopback, and one that answers as Docker Hub does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from support import authority
from support.commands import end
from support.images import OCI, Image, index
from support.people import PATH

# bcrypt of "open sesame": the registry reads no other kind of hash.
HTPASSWD = "alice:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"
USER, PASSWORD = "alice", "open sesame"
HUB, AUTH = "registry-1.docker.io", "auth.docker.io"
HUB_ADDRESS, AUTH_ADDRESS = "127.0.0.2", "127.0.0.3"


def why_not() -> str | None:
    """Say why there can be no registry here, or return None."""
    return None if shutil.which("docker-registry") else "docker-registry is not installed"


def why_no_hub() -> str | None:
    """Say why there can be no Docker Hub here, or return None."""
    return why_not() or (None if os.geteuid() == 0 else "needs root (a network and a mount namespace with the hub's names)")


class Registry:
    """A docker-registry process on a free port of loopback; a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        storage: Path | None = None,
        settings: dict[str, object] | None = None,
        prefix: tuple[str, ...] = (),
        address: str = "127.0.0.1:0",
        credentials: str = "",
    ) -> None:
        self.directory = directory
        self.storage = storage or directory / "storage"
        self._settings = settings or {}
        self._prefix = prefix
        self._address = address
        self._headers = {"Authorization": "Basic " + b64encode(credentials.encode()).decode()} if credentials else {}
        self.address = ""

    def __enter__(self) -> Registry:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "config.json"  # JSON is YAML
        config.write_text(json.dumps(self._config()))
        self._log = self.directory / "log"
        with open(self._log, "wb") as log:
            argv = [*self._prefix, "docker-registry", "serve", str(config)]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={"PATH": PATH})
        try:
            self.address = self._wait_for_address()
        except BaseException:
            end(self._process)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end(self._process)

    def _config(self) -> dict[str, object]:
        return {
            "version": 0.1,
            "log": {"level": "info", "formatter": "text"},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": {"addr": self._address, "secret": "of the tests", **_part(self._settings, "http")},
        } | {key: value for key, value in self._settings.items() if key != "http"}

    def _wait_for_address(self) -> str:
        for _ in range(400):
            found = re.search(r"listening on ([0-9.]+:[0-9]+)", self._log.read_text(errors="replace"))
            if found:
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.025)
        end(self._process)
        raise RuntimeError(f"docker-registry did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def log(self) -> str:
        """Return what the registry has logged: one line for each request among it."""
        return self._log.read_text(errors="replace")

    def push(self, repository: str, tag: str, image: Image) -> str:
        """Put `image` there under that name; return the name to pull: "127.0.0.1:PORT/REPOSITORY:TAG"."""
        self._put_image(repository, image)
        self.put_manifest(repository, tag, image.manifest, image.media["manifest"])
        return f"{self.address}/{repository}:{tag}"

    def push_index(self, repository: str, tag: str, images: list[Image], media: dict[str, str] = OCI) -> str:
        """Put `images` there, a platform each, under one name; return the name to pull."""
        for image in images:
            self._put_image(repository, image)
            self.put_manifest(repository, image.digest, image.manifest, image.media["manifest"])
        self.put_manifest(repository, tag, index(images, media), media["index"])
        return f"{self.address}/{repository}:{tag}"

    def put_manifest(self, repository: str, reference: str, document: bytes, media_type: str) -> None:
        """PUT a manifest or an index (distribution-spec, Pushing Manifests)."""
        self._request("PUT", f"/v2/{repository}/manifests/{reference}", document, {"Content-Type": media_type})

    def put_blob(self, repository: str, name: str, data: bytes) -> None:
        """POST an upload, then PUT the blob whole (distribution-spec, Pushing a blob monolithically)."""
        answer = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        location = answer["Location"]
        joint = "&" if "?" in location else "?"
        self._request("PUT", f"{location}{joint}digest={name}", data, {"Content-Type": "application/octet-stream"})

    def blob_file(self, name: str) -> Path:
        """Return the file in which the registry keeps a blob: to damage it."""
        plain = name.removeprefix("sha256:")
        return self.storage / f"docker/registry/v2/blobs/sha256/{plain[:2]}/{plain}/data"

    def _put_image(self, repository: str, image: Image) -> None:
        for name, data in image.blobs.items():
            self.put_blob(repository, name, data)

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, str]:
        url = path if path.startswith("http") else f"http://{self.address}{path}"
        request = urllib.request.Request(url, body, self._headers | (headers or {}), method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=60) as answer:
                return dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{method} {url}: {error.code} {error.read()[:500]!r}") from None


def _part(settings: dict[str, object], key: str) -> dict[str, object]:
    value = settings.get(key, {})
    assert isinstance(value, dict)
    return value


def basic(directory: Path) -> Registry:
    """Return a registry that wants the name and the password: USER and PASSWORD."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "htpasswd").write_text(HTPASSWD)
    return Registry(
        directory,
        settings={"auth": {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}},
        credentials=f"{USER}:{PASSWORD}",
    )


@dataclass(frozen=True)
class Names:
    """A process that keeps a network and a mount namespace open in which the hub's names lead to loopback."""

    process: subprocess.Popen[bytes]

    @classmethod
    def make(cls, directory: Path) -> Names:
        hosts = directory / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{HUB_ADDRESS} {HUB} index.docker.io\n{AUTH_ADDRESS} {AUTH}\n")
        hosts.chmod(0o644)
        mounts = 'mount --bind "$1" /etc/hosts && mount --bind /dev/null /etc/resolv.conf'
        script = f"ip link set lo up && {mounts} && echo ready && exec sleep infinity"
        argv = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(hosts)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        ready = process.stdout.readline()
        process.stdout.close()
        if ready != b"ready\n":
            end(process)
            raise RuntimeError("cannot make a network and a mount namespace")
        return cls(process)

    def prefix(self, uid: int = 0, gid: int = 0) -> tuple[str, ...]:
        """Return the words that run a program in there as that user, in /."""
        pid = self.process.pid
        enter = ("nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt", "--")
        return enter if uid == 0 else (*enter, "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--")


class Hub:
    """Docker Hub in small: registry-1.docker.io with TLS, tokens from auth.docker.io, an authority of the tests' own.

    The names exist in `names` alone, so a client must be started with its prefix, and with `certificates` as its
    SSL_CERT_FILE. Anybody may pull; USER may push below his name, with PASSWORD.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificates = directory / "authority.pem"

    def __enter__(self) -> Hub:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        authority.make(self.directory, (HUB, AUTH, "index.docker.io"))
        storage = self.directory / "storage"
        self._plain = Registry(self.directory / "plain", storage=storage).__enter__()
        self.names = Names.make(self.directory)
        self._tokens = self._start_token_server()
        self.registry = Registry(
            self.directory / "hub",
            storage=storage,
            settings=self._settings(),
            prefix=self.names.prefix(),
            address=f"{HUB_ADDRESS}:443",
        )
        self.registry.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.registry.__exit__(None, None, None)
        self._plain.__exit__(None, None, None)
        end(self._tokens)
        end(self.names.process)

    def push(self, repository: str, tag: str, *images: Image) -> str:
        """Put `images` (one, or a platform each) there; return the name people type: "alpine:latest" for library/alpine."""
        if len(images) == 1:
            self._plain.push(repository, tag, images[0])
        else:
            self._plain.push_index(repository, tag, list(images))
        return f"{repository.removeprefix('library/')}:{tag}"

    def environment(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self.certificates), "SSL_CERT_DIR": "/nonexistent"}

    def _settings(self) -> dict[str, object]:
        tls = {"certificate": str(self.directory / "server.pem"), "key": str(self.directory / "server.key")}
        token = {
            "realm": f"https://{AUTH}/token",
            "service": "registry.docker.io",
            "issuer": AUTH,
            "rootcertbundle": str(self.directory / "tokens.pem"),
        }
        return {"http": {"tls": tls, "host": f"https://{HUB}"}, "auth": {"token": token}}

    def _start_token_server(self) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).with_name("token_server.py"))
        argv = [*self.names.prefix(), sys.executable, script, str(self.directory), AUTH_ADDRESS, AUTH, f"{USER}:{PASSWORD}"]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        ready = process.stdout.readline()
        process.stdout.close()
        if ready != b"ready\n":
            end(process)
            raise RuntimeError("the token server did not start")
        return process
