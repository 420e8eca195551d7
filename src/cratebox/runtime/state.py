"""What is written down about a container's process, so that another command, or one after a crash, finds it.

ROOT/ID/state.json lives where a reboot forgets it. Whether the container runs is not in it: that is asked of the kernel.
Beside it are config.json, the spec that the container was made of, and identity.json, as much as it takes to end the
container where the other files are damaged.
"""

from __future__ import annotations

import os

from cratebox import document, jsontext
from cratebox.cgroup import base as cgroups
from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.linux import process
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from cratebox.runtime import spec

    _R = TypeVar("_R", bound=Record)

_MOST = 128 << 20  # bytes: a spec may have 16 MiB, and a byte of it takes up to six here (\u0001)
_ENOSPC = 28
_BY_FORCE = "delete the container by force"


class State(Record):
    """`started` is in clock ticks since boot, which with `boot_id` tells the process from a later one of the same number;
    `created` and `started_at` are in seconds since 1970. A `pid` of 0: not made yet, or died while it was being made.

    `cgroups_path` is what `cgroup` was or will be made from; `rootfs` is the root's directory on the host; `command` is the
    first word of the process, for messages; `own_pids`: its PID namespace is its own, and ends with
    it; `hooked`: its spec has hooks; `resctrl` are the directories of linux.intelRdt that
    were made for it.
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
    hooked: bool = False
    own_pids: bool = True
    resctrl: tuple[str, ...] = ()


class Identity(Record):
    """What never changes once there is a process, with the meaning it has in State."""

    pid: int
    started: int
    boot_id: str
    cgroup: dict[str, str] = {}  # noqa: RUF012
    cgroups_path: str = ""


def save(directory: str, state: State) -> None:
    """Replace state.json in `directory`, whole or not at all. Raises OSError. Not synced: a reboot forgets it anyway."""
    _replace(directory + "/state.json", state)


def save_spec(directory: str, document_: spec.Spec) -> None:
    """Write the spec that the container is made of: its bundle may change later, or go. Raises OSError."""
    _replace(directory + "/config.json", document_)


def load_spec(directory: str) -> spec.Spec:
    """Return the spec that the container in `directory` was made of. Raises NotFound, StorageError where it is damaged."""
    from cratebox.runtime.spec import Spec  # not for those who ask for the state alone

    try:
        return _read(directory + "/config.json", Spec)
    except FileNotFoundError:
        load(directory)  # NotFound, where there is no container at all
        raise StorageError(f"damaged: {directory}/config.json is gone", _BY_FORCE) from None


def save_identity(directory: str, state: State) -> None:
    """Write identity.json, once, from a state that has its process. Raises OSError."""
    known = Identity(state.pid, state.started, state.boot_id, state.cgroup, state.cgroups_path)
    _replace(directory + "/identity.json", known)


def _replace(path: str, record: Record) -> None:
    raw = jsontext.dumps(document.encode(record)).encode()
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(fd, raw) != len(raw):  # the last free bytes of the disk are given before it says ENOSPC
            raise OSError(_ENOSPC, os.strerror(_ENOSPC), path)
    finally:
        os.close(fd)
    os.rename(path + ".new", path)


def load(directory: str) -> State:
    """Return the state in `directory`. Raises NotFound, StorageError where the file is damaged."""
    try:
        return _read(directory + "/state.json", State)
    except FileNotFoundError:
        if os.path.exists(directory + "/identity.json"):
            raise StorageError(f"damaged: {directory}/state.json is gone", _BY_FORCE) from None
        raise NotFound("container does not exist") from None


def load_identity(directory: str, name: str) -> State:
    """Return what identity.json knows of the container `name`, whose state.json is damaged; that it has no process and the
    cgroup that it would have been given, where this file is damaged as well.
    """
    try:
        known = _read(directory + "/identity.json", Identity)
    except (FileNotFoundError, StorageError):
        known = Identity(0, 0, "", cgroups_path=default_cgroup(name))
    return State(
        "",
        name,
        "",
        known.pid,
        known.started,
        known.boot_id,
        0.0,
        known.cgroup,
        cgroups_path=known.cgroups_path,
        hooked=os.path.exists(directory + "/config.json"),
    )


def default_cgroup(name: str) -> str:
    """Return the path of the cgroup of a container whose spec names none."""
    return f"crate-oci/{name}"


def _read(path: str, kind: type[_R]) -> _R:
    """Return the record in the file `path`. Raises FileNotFoundError, StorageError where it is damaged."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            raw = file.read(min(_MOST, os.fstat(file.fileno()).st_size))
        return document.decode(kind, jsontext.loads(raw), path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except (jsontext.JSONError, InvalidValue) as error:
        raise StorageError(f"damaged: {path}: {error}", _BY_FORCE) from None


def _open_at_once(path: str, flags: int) -> int:
    """Never wait for a writer, should a FIFO be there instead of the file."""
    return os.open(path, flags | os.O_NONBLOCK)


def status(state: State, directory: str) -> str:
    """Return "creating", "created", "running", "paused" or "stopped", as the kernel and the gate tell (runtime.md, State)."""
    if not state.pid:
        return "creating" if _is_locked(directory) else "stopped"  # whoever was creating it has died
    if not state.started or state.boot_id != process.boot_id() or process.start_time(state.pid) != state.started:
        return "stopped"
    if state.cgroup and cgroups.from_paths(state.cgroup).is_frozen():
        return "paused"
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
    """Delete the directory of a container that is gone; what is gone already is no error. Raises StorageError."""
    try:
        # The identity first: alone it would stand for a container whose state is damaged.
        for name in sorted(os.listdir(directory), key=lambda name: name != "identity.json"):
            _gone(os.unlink, f"{directory}/{name}")
        _gone(os.rmdir, directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot delete {directory}: {error.strerror}") from None


def _gone(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except FileNotFoundError:
        pass
