"""A tree of the host that must stay as it is, whatever a container tries, and somebody who swaps names while it tries."""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.bundles import Oci

NAMES = ("null", "pts", "shm", "mqueue", "ptmx", "console", "fd", "self", "sys", "kernel", "fs", "cgroup", "etc", "file", "x")
_DIRECTORIES = ("pts", "shm", "mqueue", "self", "sys", "kernel", "fs", "cgroup", "etc")
_RENAME_EXCHANGE = 2


def fingerprint(*trees: Path) -> str:
    """Return a hash over names, kinds, modes, owners, link targets and contents, and whether something is mounted there."""
    found = hashlib.sha256()
    for tree in trees:
        for where, names, files in os.walk(tree):
            names.sort()
            for name in sorted((*names, *files)):
                path = os.path.join(where, name)
                info = os.lstat(path)
                found.update(f"{path} {info.st_mode:o} {info.st_uid} {info.st_gid} {info.st_rdev} {info.st_dev}\n".encode())
                if stat.S_ISLNK(info.st_mode):
                    found.update(os.readlink(path).encode())
                elif stat.S_ISREG(info.st_mode):
                    found.update(Path(path).read_bytes())
    found.update("\n".join(line for line in mounts_now() if any(str(tree) in line for tree in trees)).encode())
    return found.hexdigest()


def mounts_now() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


@pytest.fixture
def canary(oci: Oci) -> Path:
    """A directory of the host with what an escape would look for. It belongs to the one who runs the runtime: he could."""
    tree = oci.directory.parent / "canary"
    tree.mkdir()
    for name in NAMES:
        if name in _DIRECTORIES:
            (tree / name).mkdir()
            (tree / name / "file").write_text("canary")
        else:
            (tree / name).write_text("canary")
    oci.give(tree)
    tree.chmod(0o777)
    return tree


@contextmanager
def swapping(*pairs: tuple[Path, Path]) -> Iterator[None]:
    """Exchange the two names of each pair, over and over, until the block ends."""
    stop, libc = threading.Event(), ctypes.CDLL(None)
    names = [(os.fsencode(one), os.fsencode(other)) for one, other in pairs]

    def swap() -> None:
        while not stop.is_set():
            for one, other in names:
                assert libc.renameat2(-100, one, -100, other, _RENAME_EXCHANGE) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
