"""`crate pull` from a real registry that fails in every way, is killed in the middle, runs out of disk, and is not alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_registry as fake
import pytest
from failing_proxy import FailingProxy
from fake_registry import Fault
from pulls import kill_with_workers, wait_until

from support.commands import Crate
from support.images import Image, Tree
from support.registry import Registry

NOISE = os.urandom(2 << 20)


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FailingProxy]:
    with FailingProxy(upstream=registry.address) as proxy:
        yield proxy


@pytest.fixture
def image(busybox_base: Image) -> Image:
    """busybox with two layers: the tests' faults hit the large one, which no compression makes smaller."""
    return Image((*busybox_base.layers, Tree().file("noise", NOISE).layer()), busybox_base.config)


@pytest.fixture
def name(proxy: FailingProxy, registry: Registry, image: Image, word: str) -> str:
    registry.push(word, "1", image)
    return f"{proxy.address}/{word}:1"


def blobs(crate: Crate) -> list[str]:
    """Return the blobs of the store that count as whole."""
    return [path.name for path in (crate.root / "images").glob("blobs/sha256/*")]


# --- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("blobs/", fake.cut(700_000)), ("blobs/", fake.cut(0)), ("manifests/", fake.status(500)), ("blobs/", fake.status(503)),
        ("GET /v2/", fake.status(429, Retry_After="1")), ("blobs/", fake.chunked()), ("blobs/", fake.without_length()),
        ("blobs/", fake.stall(100_000, 0.5)),
    ],
    ids=["cut", "cut at once", "500", "503", "429", "chunked", "without length", "stalled"],
)  # fmt: skip
def test_what_passes_is_waited_for(crate: Crate, proxy: FailingProxy, name: str, part: str, fault: Fault) -> None:
    proxy.fault(part, fault, times=2)
    crate.ok("pull", "-q", name)
    assert crate.ok("run", "--rm", "--pull", "never", name, "wc", "-c", "/noise") == f"{len(NOISE)} /noise"


def test_a_redirect_to_another_host_is_followed(crate: Crate, proxy: FailingProxy, registry: Registry, name: str) -> None:
    with FailingProxy(upstream=registry.address) as other:
        proxy.fault("blobs/", fake.redirect(other.url + "{path}"), times=100)
        crate.ok("pull", "-q", name)
        assert other.asked("blobs/")
        assert not any("authorization" in seen.headers for seen in other.seen)


# --- what does not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        pytest.param(fake.body(lambda data: data[:-1] + bytes([data[-1] ^ 1])), "another digest", id="wrong bytes"),
        pytest.param(fake.body(lambda data: data[:-1]), "bytes are announced", id="short"),
        pytest.param(fake.body(lambda data: data + b"x"), "bytes are announced", id="long"),
        pytest.param(fake.header(Content_Length="5"), "'5' bytes are announced", id="small length"),
        pytest.param(fake.header(Content_Length="9" * 12), f"'{'9' * 12}' bytes are announced", id="huge length"),
        pytest.param(fake.without_length(lambda data: data + b"x"), "more bytes come than", id="more than the manifest has"),
        pytest.param(fake.chunked(lambda data: data + b"x"), "more bytes come than", id="more chunks"),
        pytest.param(fake.redirect("{path}"), "redirected more than 5 times", id="endless redirects"),
        pytest.param(fake.redirect("http://169.254.169.254/"), "169.254.169.254", id="metadata"),
        pytest.param(fake.redirect("ftp://127.0.0.1/x"), "ftp://127.0.0.1", id="no http"),
        pytest.param(fake.status(404), "404", id="404"),
        pytest.param(fake.status(403), "denied", id="403"),
        pytest.param(fake.status(429, Retry_After="3600"), "too many requests", id="429"),
        pytest.param(fake.header(Content_Encoding="gzip"), "encoding", id="encoded"),
    ],
)
def test_what_is_wrong_is_refused_and_the_next_pull_is_whole(
    rootful: Crate, proxy: FailingProxy, name: str, image: Image, fault: Fault, why: str
) -> None:
    large = image.layers[-1].digest
    proxy.fault(f"blobs/{large}", fault, times=1000)
    said = rootful.fails("pull", "-q", name)
    assert why in said.splitlines()[0], said
    assert len(said.splitlines()) <= 2, said
    assert large.removeprefix("sha256:") not in blobs(rootful)
    assert rootful.ok("images", "-q") == ""
    proxy.rules.clear()
    assert rootful.ok("run", "--rm", "-q", name, "wc", "-c", "/noise") == f"{len(NOISE)} /noise"


def test_a_pull_that_was_killed_goes_on_where_it_was(rootful: Crate, proxy: FailingProxy, name: str, image: Image) -> None:
    large, going_on = image.layers[-1].digest, threading.Event()
    proxy.fault(f"blobs/{large}", fake.stall(1 << 20, 300, going_on))
    process = rootful.start("pull", "-q", name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = rootful.root / "images/blobs/.partial" / large.replace(":", "-")
    try:
        wait_until(lambda: _size(partial) >= 1 << 16)
        kill_with_workers(process.pid)
    finally:
        going_on.set()
        process.returncode = -9  # it was reaped where it was killed
    assert rootful.ok("run", "--rm", "-q", name, "wc", "-c", "/noise") == f"{len(NOISE)} /noise"
    first, second = proxy.asked(f"blobs/{large}")
    assert "range" not in first.headers
    assert int(second.headers["range"].removeprefix("bytes=").rstrip("-")) >= 1 << 16
    rootful.ok("system", "check")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("megabytes", [4, 72])  # crate leaves the last 64 MiB of a disk alone
def test_a_disk_that_is_full_is_told_and_the_store_goes_on(
    rootful: Crate, registry: Registry, word: str, busybox_base: Image, megabytes: int
) -> None:
    small = registry.push(f"{word}/small", "1", busybox_base)
    layers = tuple(Tree().file(f"noise{number}", os.urandom(5 << 20)).layer() for number in range(3))
    large = registry.push(f"{word}/large", "1", Image((*busybox_base.layers, *layers), busybox_base.config))
    with disk(rootful.root, megabytes):
        said = rootful.fails("pull", "-q", large)
        assert "space" in said.splitlines()[0], said
        assert len(said.splitlines()) <= 2, said
        assert rootful.ok("images", "-q") == ""
        rootful.ok("system", "prune", "-f")
        if megabytes > 64:
            assert rootful.ok("run", "--rm", "-q", small, "echo", "x") == "x"
        rootful.ok("system", "check")


@contextlib.contextmanager
def disk(path: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of that size at `path`."""
    path.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_sixty_four_pulls_at_once_are_one_download(rootful: Crate, proxy: FailingProxy, name: str, image: Image) -> None:
    with ThreadPoolExecutor(64) as pool:
        done = list(pool.map(lambda _number: rootful("pull", "-q", name, timeout=600), range(64)))
    assert {one.returncode for one in done} == {0}, [one.stderr for one in done if one.returncode]
    assert [len(proxy.asked(f"blobs/{each.digest}")) for each in image.layers] == [1, 1]
    assert rootful.ok("run", "--rm", "--pull", "never", name, "wc", "-c", "/noise") == f"{len(NOISE)} /noise"
