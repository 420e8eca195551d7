"""What is written down about a container's process, so that another command, or one after a crash, finds it.

ROOT/ID/state.json lives where a reboot forgets it. Whether the container runs is not in it: that is asked of the kernel.
"""

from __future__ import annotations

import os

from cratebox import document, jsontext
from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.linux import process
from cratebox.record import Record


class State(Record):
    """`started` is in clock ticks since boot, which with `boot_id` tells the process from a later one of the same number;
    `created` and `started_at` are in seconds since 1970.
    """

    oci_version: str
    id: str
    bundle: str
    pid: int
    started: int
    boot_id: str
    created: float
    cgroup: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    annotations: dict[str, str] = {}  # noqa: RUF012
    started_at: float | None = None
    owner: int = 0


def save(directory: str, state: State) -> None:
    """Replace state.json in `directory`, whole or not at all. Raises OSError. Not synced: a reboot forgets it anyway."""
    path = directory + "/state.json"
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, jsontext.dumps(document.encode(state)).encode())
    finally:
        os.close(fd)
    os.rename(path + ".new", path)


def load(directory: str) -> State:
    """Return the state in `directory`. Raises NotFound, StorageError where the file is damaged."""
    path = directory + "/state.json"
    try:
        with open(path, "rb") as file:
            raw = file.read(1 << 20)
        return document.decode(State, jsontext.loads(raw), path)
    except FileNotFoundError:
        raise NotFound("container does not exist") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except (jsontext.JSONError, InvalidValue) as error:
        raise StorageError(f"damaged: {path}: {error}", "delete the container by force") from None


def status(state: State, directory: str) -> str:
    """Return "created", "running" or "stopped", as the kernel and the gate tell (runtime.md, State)."""
    if state.boot_id != process.boot_id() or process.start_time(state.pid) != state.started:
        return "stopped"
    return "created" if os.path.exists(directory + "/gate") else "running"


def forget(directory: str) -> None:
    """Delete the directory of a container that is gone; what is gone already is no error."""
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        pass
