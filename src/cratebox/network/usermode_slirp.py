"""slirp4netns(1) as the way outside: it stays the child of who has started it, so that is a child which ends at once,
as pasta's does.
"""

from __future__ import annotations

import os
import select

from cratebox.linux import namespaces, process
from cratebox.network.usermode_program import INTERFACE, SECONDS_TO_BEGIN, Way, directory, failure, spawn, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def begin(path: str, way: Way, target: tuple[int, int]) -> Way:
    """Start it for the namespaces `target`, of user and network, opened. Raises OSError."""
    reading, ready = os.pipe()
    told, telling = os.pipe()
    try:
        between, between_pidfd = namespaces.clone(0)
        if between == 0:
            _start(path, way, target, ready, telling)
        os.close(between_pidfd)
    finally:
        os.close(ready)
        os.close(telling)
    with open(told, "rb") as file:
        answer = file.read()
    os.waitpid(between, 0)
    if not answer.isdigit():
        os.close(reading)
        raise OSError(0, answer.decode() or "no process could be made")
    with open(f"{directory(way.place)}/{way.owner}.pid", "w", encoding="ascii") as file:
        file.write(f"{int(answer)} {process.start_time(int(answer))}")
    return way.replace(ready=reading)


def await_ready(way: Way) -> None:
    """Wait until it is the way outside. Raises CrateError with what it said."""
    with open(way.ready, "rb", buffering=0) as file:
        if not select.select([file], [], [], SECONDS_TO_BEGIN)[0] or file.read(1) != b"1":
            raise failure(way)


def _start(path: str, way: Way, target: tuple[int, int], ready: int, telling: int) -> NoReturn:
    try:
        user, net = target
        # Without --enable-sandbox, which fails with a user namespace's path.
        words = ["-c", "-r", str(ready), "-m", "65520", "--disable-host-loopback", "--enable-seccomp"]
        words += ["-6"] if way.ipv6 else []
        words += ["--netns-type=path", f"--userns-path=/proc/self/fd/{user}"]
        argv = [path, *words, f"/proc/self/fd/{net}", INTERFACE]
        os.write(telling, str(spawn(path, argv, streams(way.said, ready, *target))).encode())
    except OSError as error:
        os.write(telling, str(error.strerror).encode())
    finally:
        os._exit(0)
