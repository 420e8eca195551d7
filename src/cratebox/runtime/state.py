"""What is written down about a container's process, so that another command, or one after a crash, finds it.

ROOT/ID/state.json lives where a reboot forgets it. Whether the container runs is not in it: that is asked of the kernel.
"""

from __future__ import annotations

import os

from cratebox import document, jsontext
from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.linux import process
from cratebox.record import Record

_MOST = 16 << 20  # bytes, of which nearly all would be annotations
_ENOSPC = 28


class State(Record):
    """`started` is in clock ticks since boot, which with `boot_id` tells the process from a later one of the same number;
    `created` and `started_at` are in seconds since 1970. A `pid` of 0: not made yet, or died while it was being made.

    `cgroups_path` is what `cgroup` was or will be made from; `rootfs` is the root's directory on the host; `command` is the
    first word of the process, for messages.
    """

    oci_version: str
    id: str
    bundle: str
    pid: int
    started: int
    boot_id: str
    created: float
    cgroup: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    annotations: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    started_at: float | None = None
    owner: int = 0
    cgroups_path: str = ""
    rootfs: str = ""
    command: str = ""


def save(directory: str, state: State) -> None:
    """Replace state.json in `directory`, whole or not at all. Raises OSError. Not synced: a reboot forgets it anyway."""
    path = directory + "/state.json"
    raw = jsontext.dumps(document.encode(state)).encode()
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(fd, raw) != len(raw):  # the last free bytes of the disk are given before it says ENOSPC
            raise OSError(_ENOSPC, os.strerror(_ENOSPC), path)
    finally:
        os.close(fd)
    os.rename(path + ".new", path)


def load(directory: str) -> State:
    """Return the state in `directory`. Raises NotFound, StorageError where the file is damaged."""
    path = directory + "/state.json"
    try:
        with open(path, "rb") as file:
            raw = file.read(_MOST)
        return document.decode(State, jsontext.loads(raw), path)
    except FileNotFoundError:
        raise NotFound("container does not exist") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except (jsontext.JSONError, InvalidValue) as error:
        raise StorageError(f"damaged: {path}: {error}", "delete the container by force") from None


def status(state: State, directory: str) -> str:
    """Return "creating", "created", "running" or "stopped", as the kernel and the gate tell (runtime.md, State)."""
    if not state.pid:
        return "creating" if _is_locked(directory) else "stopped"  # whoever was creating it has died
    if not state.started or state.boot_id != process.boot_id() or process.start_time(state.pid) != state.started:
        return "stopped"
    return "created" if _waits_at_gate(directory) else "running"


def _waits_at_gate(directory: str) -> bool:
    """Say whether somebody reads from the gate: a `start` that was killed may have left it behind."""
    try:
        os.close(os.open(directory + "/gate", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _is_locked(directory: str) -> bool:
    import fcntl

    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def forget(directory: str) -> None:
    """Delete the directory of a container that is gone; what is gone already is no error."""
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        pass
