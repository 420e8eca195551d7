"""What the tests of the whole engine share: a crate with an image in its store already."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.commands import Crate
from support.images import Image
from support.screen import Screen


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

    def detached(self, *words: str) -> str:
        """`crate run -d`: return the ID."""
        return self.crate.ok("run", "-d", *self.words(*words))

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """`crate run --rm`, not waited for."""
        return self.crate.start("run", "--rm", *self.words(*words), **options)

    def status(self, reference: str) -> str:
        """created, running or exited."""
        document = self.crate.json("inspect", reference)
        assert isinstance(document, list)
        return str(document[0]["State"]["Status"])


def _ready(crate: Crate, built: object) -> Ready:
    crate.ok("pull", "--quiet", str(built))
    return Ready(crate, built.image.id.removeprefix("sha256:"))  # type: ignore[attr-defined]


@pytest.fixture
def box(crate: Crate, busybox_image: object) -> Ready:
    """busybox in the store: once as root, once as an ordinary user."""
    return _ready(crate, busybox_image)


@pytest.fixture
def root_box(rootful: Crate, busybox_image: object) -> Ready:
    """busybox in root's store."""
    return _ready(rootful, busybox_image)


@pytest.fixture
def user_box(rootless: Crate, busybox_image: object) -> Ready:
    """busybox in an ordinary user's store."""
    return _ready(rootless, busybox_image)


@pytest.fixture
def put(build: Callable[[str, Image], object]) -> Callable[[Crate, Image], Ready]:
    """A function that brings an image of the test's own into a crate's store."""

    def bring(crate: Crate, image: Image) -> Ready:
        return _ready(crate, build("made", image))

    return bring


@pytest.fixture
def until() -> Callable[..., object]:
    """A function that waits until another returns something true, and returns that."""

    def wait(true: Callable[[], object], seconds: float = 10.0) -> object:
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture
def small_store(rootful: Crate) -> Iterator[Path]:
    """A file system of 100 MB for a store."""
    place = rootful.directory / "small"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m,mode=755", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def screens() -> Iterator[object]:
    """A function that opens terminals, which are closed at the end."""
    opened: list[Screen] = []

    def open_one(ready, *words: str, verb: tuple[str, ...] = ("run", "--rm", "-it")) -> Screen:  # type: ignore[no-untyped-def]
        opened.append(Screen(ready, verb, ready.words(*words) if verb[0] == "run" else words))
        return opened[-1]

    yield open_one
    for screen in opened:
        screen.close()
