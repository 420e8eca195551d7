"""Images made by the tests' own few lines: what crate reads was not written by crate."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "2024-05-01T12:00:00Z"

OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "tar": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "tar": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Layer:
    """One layer: its tar as it is stored (`data`), and the digest of the plain tar."""

    data: bytes = field(repr=False)
    diff_id: str
    compression: str = "gzip"

    @classmethod
    def of_tar(cls, plain: bytes, compression: str = "gzip", level: int = 1) -> Layer:
        data = gzip.compress(plain, level, mtime=0) if compression == "gzip" else plain
        return cls(data, digest(plain), compression)

    @classmethod
    def of_gzip(cls, data: bytes) -> Layer:
        return cls(data, digest(gzip.decompress(data)))

    @cached_property
    def digest(self) -> str:
        return digest(self.data)


class Tree:
    """A tar under construction, in the order of the calls: `Tree().directory("etc").file("etc/x", b"...")`."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  closed by tar()

    def member(self, name: str, data: bytes = b"", **attributes: object) -> Tree:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), 1_700_000_000, 0o644
        for key, value in attributes.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def directory(self, *names: str, mode: int = 0o755, **attributes: object) -> Tree:
        for name in names:
            self.member(name, type=tarfile.DIRTYPE, mode=mode, **attributes)
        return self

    def file(self, name: str, data: bytes | str, mode: int = 0o644, **attributes: object) -> Tree:
        return self.member(name, data.encode() if isinstance(data, str) else data, mode=mode, **attributes)

    def symlink(self, name: str, target: str) -> Tree:
        return self.member(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)

    def hardlink(self, name: str, target: str) -> Tree:
        return self.member(name, type=tarfile.LNKTYPE, linkname=target)

    def tar(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()

    def layer(self, compression: str = "gzip") -> Layer:
        return Layer.of_tar(self.tar(), compression)


@dataclass(frozen=True)
class Image:
    """An image of one platform. `config` is the inner "config" object of the image configuration; without a `history`
    each layer has a step.
    """

    layers: tuple[Layer, ...]
    config: dict[str, object] = field(default_factory=dict)
    architecture: str = "amd64"
    variant: str = ""
    media: dict[str, str] = field(default_factory=lambda: OCI)
    history: tuple[dict[str, object], ...] | None = None

    @cached_property
    def config_blob(self) -> bytes:
        document: dict[str, object] = {
            "created": CREATED,
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            "history": [{"created": CREATED, "created_by": f"layer {n}"} for n, _ in enumerate(self.layers)],
        }
        if self.history is not None:
            document["history"] = list(self.history)
        if self.variant:
            document["variant"] = self.variant
        return json.dumps(document).encode()

    @cached_property
    def manifest(self) -> bytes:
        layers = [
            {"mediaType": self.media[layer.compression], "digest": layer.digest, "size": len(layer.data)}
            for layer in self.layers
        ]
        config = {"mediaType": self.media["config"], "digest": self.id, "size": len(self.config_blob)}
        document = {"schemaVersion": 2, "mediaType": self.media["manifest"], "config": config, "layers": layers}
        return json.dumps(document).encode()

    @property
    def id(self) -> str:
        """The digest of the configuration: what `crate images` shows as ID."""
        return digest(self.config_blob)

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def descriptor(self) -> dict[str, object]:
        platform = {"os": "linux", "architecture": self.architecture} | ({"variant": self.variant} if self.variant else {})
        return {"mediaType": self.media["manifest"], "digest": self.digest, "size": len(self.manifest), "platform": platform}

    @property
    def blobs(self) -> dict[str, bytes]:
        """Everything but the manifest, by digest."""
        return {self.id: self.config_blob} | {layer.digest: layer.data for layer in self.layers}

    def changed(self, **config: object) -> Image:
        """Return the image with these keys of its configuration set."""
        return replace(self, config=self.config | config)

    def as_docker(self) -> Image:
        """Return the image with Docker's media types (schema 2)."""
        return replace(self, media=DOCKER)


def index(images: Iterable[Image], media: dict[str, str] = OCI) -> bytes:
    """Return the document that names `images`, a platform each."""
    manifests = [image.descriptor for image in images]
    return json.dumps({"schemaVersion": 2, "mediaType": media["index"], "manifests": manifests}).encode()


def write_oci_layout(directory: Path, images: dict[str, Image]) -> Path:
    """Write `images`, by tag, as an OCI image layout (image-spec, image-layout.md) that everybody can read."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    manifests = []
    for tag, image in images.items():
        for name, data in (image.blobs | {image.digest: image.manifest}).items():
            (blobs / name.removeprefix("sha256:")).write_bytes(data)
        manifests.append(image.descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}})
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI["index"], "manifests": manifests}))
    return directory


def write_oci_archive(path: Path, images: dict[str, Image]) -> Path:
    """Write the layout as a tar, as skopeo's oci-archive does."""
    layout = write_oci_layout(path.with_suffix(".layout"), images)
    with tarfile.open(path, "w") as tar:
        tar.add(layout, arcname=".")
    return path


def write_docker_archive(path: Path, name: str, image: Image) -> Path:
    """Write what `docker save` writes: manifest.json, the configuration, and a plain tar for each layer."""
    tree = Tree()
    names = []
    for layer in image.layers:
        names.append(layer.diff_id.removeprefix("sha256:") + "/layer.tar")
        plain = gzip.decompress(layer.data) if layer.compression == "gzip" else layer.data
        tree.file(names[-1], plain)
    config = image.id.removeprefix("sha256:") + ".json"
    tree.file(config, image.config_blob)
    tree.file("manifest.json", json.dumps([{"Config": config, "RepoTags": [name], "Layers": names}]))
    path.write_bytes(tree.tar())
    return path


def busybox_tree(extra: dict[str, str] | None = None) -> Tree:
    """Return a small real system: static busybox with its applets, users, and the usual directories."""
    tree = Tree().directory("bin", "etc", "home", "home/alice", "proc", "root", "sys", "dev", "usr", "usr/bin", "var")
    tree.directory("tmp", "var/tmp", mode=0o1777)
    tree.file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
    for applet in APPLETS:
        tree.symlink(f"bin/{applet}", "busybox")
    tree.symlink("usr/bin/env", "/bin/busybox")
    tree.file(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    )
    tree.file("etc/group", "root:x:0:\nalice:x:1000:\nstaff:x:50:alice\nwheel:x:10:alice,root\nnogroup:x:65534:\n")
    for name, text in (extra or {}).items():
        tree.file(name, text, mode=0o755)
    return tree


APPLETS = [
    "sh",
    "ash",
    "cat",
    "ls",
    "echo",
    "true",
    "false",
    "id",
    "env",
    "pwd",
    "sleep",
    "kill",
    "ps",
    "mount",
    "umount",
    "touch",
    "rm",
    "mkdir",
    "rmdir",
    "ln",
    "cp",
    "mv",
    "stat",
    "head",
    "tail",
    "wc",
    "grep",
    "sed",
    "awk",
    "test",
    "printf",
    "hostname",
    "tty",
    "stty",
    "seq",
    "yes",
    "dd",
    "od",
    "hexdump",
    "sha256sum",
    "find",
    "sort",
    "uniq",
    "tr",
    "cut",
    "date",
    "ip",
    "nc",
    "ifconfig",
    "uname",
    "whoami",
    "chown",
    "chmod",
    "chroot",
    "df",
    "du",
    "free",
    "mknod",
    "mkfifo",
    "readlink",
    "realpath",
    "timeout",
    "trap",
    "top",
    "vi",
    "xargs",
    "tar",
    "gzip",
    "setsid",
    "nproc",
    "cmp",
    "diff",
    "expr",
    "which",
    "ulimit",
    "dmesg",
    "mountpoint",
    "nslookup",
    "ping",
    "wget",
    "sync",
    "tee",
    "basename",
    "dirname",
    "getopt",
    "usleep",
    "time",
    "watch",
    "pidof",
    "pgrep",
    "killall",
    "losetup",
    "mkpasswd",
]


def busybox_image(**config: object) -> Image:
    """Return an image of one layer: busybox, Env PATH, Cmd sh; `config` sets further keys (User, Entrypoint, ...)."""
    return Image((busybox_tree().layer(),), {"Env": [PATH], "Cmd": ["sh"]} | config)


def find_alpine() -> Path | None:
    """Return an Alpine root file system: CRATE_TEST_ALPINE, or the newest beside the checkout."""
    named = os.environ.get("CRATE_TEST_ALPINE")
    beside = Path(__file__).resolve().parents[3] / "shared/images"
    found = [Path(named)] if named else sorted(beside.glob("alpine-minirootfs-*.tar.gz"))
    return found[-1] if found and found[-1].is_file() else None


def alpine_image(minirootfs: Path) -> Image:
    """Return alpine as Docker Hub has it: the real root file system, the configuration of the real image."""
    return Image((Layer.of_gzip(minirootfs.read_bytes()),), {"Env": [PATH], "Cmd": ["/bin/sh"], "WorkingDir": "/"})
