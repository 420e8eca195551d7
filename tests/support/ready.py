"""A crate with an image in its store already, as most tests of containers need it.

The image is pulled once for each person and worker; what the store is by then is copied for each test, which is several times
cheaper than a pull, and waits for no disk.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.commands import Crate
from support.images import Image
from support.trees import copy_tree


@dataclass(frozen=True)
class Ready:
    """A crate with an image in its store. Where `@` stands among the words, the image does: `run("-t", "@", "tty")`;
    without one it stands before them all: `run("echo", "hello")`.
    """

    crate: Crate
    image: str

    def words(self, *words: str) -> tuple[str, ...]:
        """Return the words with the image in its place."""
        if "@" not in words:
            return (self.image, *words)
        at = words.index("@")
        return (*words[:at], self.image, *words[at + 1 :])

    def __call__(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """`crate run --rm`: what it said and its exit code, whatever that is."""
        return self.crate("run", "--rm", *self.words(*words), **options)  # type: ignore[arg-type]

    def run(self, *words: str, **options: object) -> str:
        """`crate run --rm`: insist on 0 and return the output without the last newline."""
        return self.crate.ok("run", "--rm", *self.words(*words), **options)

    def fails(self, *words: str, code: int = 125, **options: object) -> str:
        """`crate run --rm`: insist on a failure and return the message."""
        return self.crate.fails("run", "--rm", *self.words(*words), code=code, **options)

    def create(self, *words: str) -> str:
        """`crate create`: return the ID."""
        return self.crate.ok("create", *self.words(*words))

    def detached(self, *words: str, **options: object) -> str:
        """`crate run -d`: return the ID."""
        return self.crate.ok("run", "-d", *self.words(*words), **options)

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """`crate run --rm`, not waited for."""
        return self.crate.start("run", "--rm", *self.words(*words), **options)

    def status(self, reference: str) -> str:
        """created, running or exited."""
        document = self.crate.json("inspect", reference)
        assert isinstance(document, list)
        return str(document[0]["State"]["Status"])


Stock = Callable[[Crate, object], Ready]


@pytest.fixture(scope="session")
def stock(scratch: Path) -> Stock:
    """A function that brings an image into the empty store of a crate: `stock(crate, busybox_image)`."""

    def bring(crate: Crate, built: object) -> Ready:
        kept = scratch / "stock" / crate.person.name / built.layout.name  # type: ignore[attr-defined]
        if kept.exists():
            copy_tree(kept, crate.root)
            return _ready(crate, built)
        found = pulled(crate, built)
        if os.geteuid() == 0:  # else files of subordinate IDs cannot be copied
            kept.parent.mkdir(parents=True, exist_ok=True)
            copy_tree(crate.root, kept)
        return found

    return bring


def pulled(crate: Crate, built: object) -> Ready:
    """Pull an image into a crate's store, beside what is there. Of a copy, `crate system check` would say that files have too
    many names: modules that ask it have this for their `stock`.
    """
    crate.ok("pull", "--quiet", str(built))
    return _ready(crate, built)


def _ready(crate: Crate, built: object) -> Ready:
    return Ready(crate, built.image.id.removeprefix("sha256:"))  # type: ignore[attr-defined]


@pytest.fixture
def box(crate: Crate, busybox_image: object, stock: Stock) -> Ready:
    """busybox in the store: once as root, once as an ordinary user."""
    return stock(crate, busybox_image)


@pytest.fixture
def root_box(rootful: Crate, busybox_image: object, stock: Stock) -> Ready:
    """busybox in root's store."""
    return stock(rootful, busybox_image)


@pytest.fixture(params=["root", "user"])
def net_box(request: pytest.FixtureRequest, busybox_image: object, stock: Stock) -> Ready:
    """busybox in the store of somebody whose containers can be on networks: root, and an ordinary user with /dev/net/tun."""
    return stock(request.getfixturevalue("rootful" if request.param == "root" else "outward"), busybox_image)


@pytest.fixture
def user_box(rootless: Crate, busybox_image: object, stock: Stock) -> Ready:
    """busybox in an ordinary user's store."""
    return stock(rootless, busybox_image)


@pytest.fixture
def put(build: Callable[[str, Image], object]) -> Callable[[Crate, Image], Ready]:
    """A function that brings an image of the test's own into a crate's store, beside what is there."""

    def bring(crate: Crate, image: Image) -> Ready:
        return pulled(crate, build("made", image))

    return bring
