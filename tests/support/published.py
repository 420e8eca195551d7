"""Published ports of an ordinary user's containers: clients on this machine, and servers of a test's own behind them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support.commands import Crate
from support.ready import Ready

Until = Callable[..., object]
PROGRAMS = {"pasta": "/usr/bin/pasta", "slirp4netns": "/usr/bin/slirp4netns"}


@pytest.fixture(params=sorted(PROGRAMS))
def out_box(request: pytest.FixtureRequest, user_box: Ready, outward: Crate) -> Ready:
    """busybox in the store of an ordinary user, whose way outside is the one or the other program."""
    return replace(user_box, crate=with_program(outward, request.param))


@pytest.fixture
def pasta_box(user_box: Ready, outward: Crate) -> Ready:
    return replace(user_box, crate=with_program(outward, "pasta"))


def with_program(crate: Crate, name: str) -> Crate:
    """Let it find this one alone."""
    if not Path(PROGRAMS[name]).exists():
        pytest.skip(f"{name} is not installed")
    crate = without_programs(crate)
    (crate.directory.parent / "programs" / name).symlink_to(PROGRAMS[name])
    return crate


def without_programs(crate: Crate) -> Crate:
    there = crate.directory.parent / "programs"
    there.mkdir()
    for one in ("newuidmap", "newgidmap"):
        (there / one).symlink_to(f"/usr/bin/{one}")
    step_down = ("setpriv", f"--reuid={crate.person.uid}", f"--regid={crate.person.gid}", "--clear-groups")
    return crate.within((*(crate.prefix or (step_down if os.geteuid() == 0 else ())), "env", f"PATH={there}"))


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def own_address() -> str:
    """This machine's address on its way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no way out")
        return str(sock.getsockname()[0])


def held_on_the_way() -> int:
    """Return how many bytes at most two connections hold, with what is between them, on this machine (tcp(7))."""
    most = [int(Path(f"/proc/sys/net/ipv4/tcp_{one}mem").read_text().split()[2]) for one in "rw"]
    return 2 * sum(most) + (4 << 20)


def left_of(crate: Crate) -> list[str]:
    """Return the processes that have the crate's directory among their words: holder, pasta, slirp4netns, resolver."""
    found = []
    for one in Path("/proc").iterdir():
        try:
            words = (one / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") if one.name.isdigit() else ""
        except OSError:
            continue
        if str(crate.state) in words and not words.startswith(("sh ", "setpriv ", "unshare ")):
            found.append(words)
    return found


def published(box: Ready, *ports: str, network: tuple[str, ...] = ("--network", "bridge")) -> str:
    """Start a container that only publishes ports; return its ID."""
    return box.detached(*network, *(word for port in ports for word in ("-p", port)), "@", "sleep", "1000")


@contextmanager
def serving(crate: Crate, container: str, code: str) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in the network namespace of a container; it has said its first line when this begins."""
    pid = crate.ok("inspect", "-f", "{{.State.Pid}}", container)
    enter = ["nsenter", "-t", pid, "-n"] if os.geteuid() == 0 else ["nsenter", "-t", pid, "-U", "-n", "--preserve-credentials"]
    server = subprocess.Popen([*enter, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        assert server.stdout.readline()
        yield server
    finally:
        server.kill()
        server.wait()
        server.stdout.close()  # type: ignore[union-attr]
