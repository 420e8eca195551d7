"""What the tests of the whole engine share: a crate with an image in its store already."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.commands import Crate
from support.published import out_box, pasta_box  # noqa: F401
from support.ready import Ready, box, net_box, put, root_box, stock, user_box  # noqa: F401
from support.screen import Screen

SLOWER = int(os.environ.get("CRATE_TEST_SLOWER", "1"))  # times: how much longer to wait for what happens on an emulated machine
GRANT = """printf 'containers:2000000:150000\\n' > /run/crate-test-subids-$$
mount --bind /run/crate-test-subids-$$ /etc/subuid; mount --bind /run/crate-test-subids-$$ /etc/subgid
rm /run/crate-test-subids-$$; exec "$@" """


@pytest.fixture
def granted(root_box: Ready) -> Crate:  # noqa: F811  the fixture
    """root's crate on a machine that grants 150000 IDs to the user "containers"."""
    return root_box.crate.within(("unshare", "--mount", "sh", "-c", GRANT, "sh"))


@pytest.fixture
def until() -> Callable[..., object]:
    """A function that waits until another returns something true, and returns that."""

    def wait(true: Callable[[], object], seconds: float = 30.0) -> object:
        deadline = time.monotonic() + seconds * SLOWER
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
