"""What the tests of the registry client share: a clock that does not wait, an image, a blob, and ways to connect."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import FakeRegistry

from cratebox.image.manifest import Descriptor
from cratebox.image.registry import Registry
from support.images import Image, Tree, digest

BLOB = bytes(range(256)) * 2000  # 512,000 bytes
IMAGE = Image((Tree().file("hello", b"world").layer(),))
SECRET = "name:s3cr3t-canary"

Connect = Callable[..., Registry]


class Clock:
    """time, whose sleep is written down instead."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.ahead = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time() + self.ahead


def descriptor(data: bytes = BLOB, size: int | None = None) -> Descriptor:
    return Descriptor(media_type="m", digest=digest(data), size=len(data) if size is None else size)


def login(home: Path, server: FakeRegistry, **entry: str) -> None:
    """Write a config.json as docker login does, with SECRET or another entry for `server`."""
    (home / "docker").mkdir(exist_ok=True)
    auth = {"auth": b64encode(SECRET.encode()).decode()}
    (home / "docker/config.json").write_text(json.dumps({"auths": {server.address: entry or auth}}))


def lead_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name resolve to 127.0.0.1."""
    from urllib3.util import connection

    real = connection.create_connection
    monkeypatch.setattr(
        connection, "create_connection", lambda address, *rest, **more: real(("127.0.0.1", address[1]), *rest, **more)
    )
