"""What the tests of that which comes after a pull share: a store, an image, a pull, and processes that are killed."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from inside import IS_ROOT

from cratebox.image import platform as platforms
from cratebox.image import transport
from cratebox.image.pull import Pulled, bring
from cratebox.image.settings import Settings
from cratebox.image.store import Store
from support.images import Image, Tree

BIG = Tree().file("noise", os.urandom(3_000_000)).layer()
THREE = Image((Tree().file("one", b"1").layer(), BIG, Tree().file("three", b"3").layer()))
OTHER = Image((Tree().file("other", b"4").layer(),))


def new_store(directory: Path) -> Store:
    return Store(str(directory), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")


def fetch(store: Store, name: str, settle: str = "later") -> Pulled:
    return bring(store, transport.parse(name), platforms.parse("linux/amd64"), Settings(certificates=(), settle=settle))


def is_settled(store: Store) -> bool:
    """Say whether every layer of the store is known to be on the disk, and there is one."""
    records = list(Path(store.directory, "layers").glob("[0-9a-f]*/layer.json"))
    return bool(records) and all(json.loads(record.read_text())["boot"] == "" for record in records)


def settlers(store: Store) -> list[int]:
    """Return the processes that settle the layers of `store`, or are about to."""
    lock = os.path.realpath(store.directory) + "/locks/settle"
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{name}/comm").read_text() == "crate-settle\n" and lock in descriptors(int(name)):
                found.append(int(name))
        except OSError:
            continue
    return found


def descriptors(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


def begin(work: Callable[[], object]) -> int:
    """Run `work` in a child; return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def kill_with_workers(pid: int) -> None:
    """Kill a pull and its workers as the kernel does where memory is short: none gets to take its things away."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    held = [os.pidfd_open(worker) for worker in workers(pid)]
    for worker in held:
        signal.pidfd_send_signal(worker, signal.SIGKILL)
    for worker in held:
        select.select([worker], [], [])  # until it has ended, and with it its locks: who waits for the pull's finds it dead
        os.close(worker)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def workers(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
