"""Running a piece of a test as an ordinary user in a user namespace, as rootless crate does it."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

from cratebox.linux import const
from cratebox.linux.namespaces import unshare

USER = 12345
FIRST_SUBORDINATE = 200_000
IS_ROOT = os.geteuid() == 0


def run_as_user(work: Callable[[], Any], *, one_id: bool) -> Any:
    """Run `work` as root of a new user namespace that belongs to an ordinary user; return what it returned.

    The map has one id, or also 65536 subordinate ones (which takes a caller who is root to write).
    """
    read_end, write_end = os.pipe()
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _enter(ready_write, go_read)
            answer = pickle.dumps((True, work()))
        except BaseException as error:
            answer = pickle.dumps((False, error if _survives(error) else RuntimeError(traceback.format_exc())))
        with open(write_end, "wb") as file:
            file.write(answer)
        os._exit(0)
    os.close(write_end)
    if os.read(ready_read, 1) == b"u":
        _write_maps(pid, one_id)
        os.write(go_write, b"g")
    with open(read_end, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    for fd in (ready_read, ready_write, go_read, go_write):
        os.close(fd)
    good, value = pickle.loads(answer)
    if not good:
        raise value
    return value


def _survives(error: BaseException) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def _enter(ready: int, go: int) -> None:
    try:
        if IS_ROOT:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
        unshare(const.CLONE_NEWUSER | const.CLONE_NEWNS)
    except BaseException:
        os.write(ready, b"f")
        raise
    os.write(ready, b"u")
    os.read(go, 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _write_maps(pid: int, one_id: bool) -> None:
    own = USER if IS_ROOT else os.getuid()
    for name, ident in (("gid_map", own if IS_ROOT else os.getgid()), ("uid_map", own)):
        if name == "gid_map" and not IS_ROOT:
            with open(f"/proc/{pid}/setgroups", "w") as file:
                file.write("deny")
        lines = [f"0 {ident} 1"] + ([] if one_id else [f"1 {FIRST_SUBORDINATE} 65536"])
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write("\n".join(lines) + "\n")
