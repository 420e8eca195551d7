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
from cratebox.linux import pidfds
from cratebox.linux.regular import read_regular
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from cratebox.runtime import spec

    _R = TypeVar("_R", bound=Record)

_MOST = 128 << 20  # bytes: a spec may have 16 MiB, and a byte of it takes up to six here (\u0001)
_LONGEST_STATE = 1 << 20
_NO_PID = 1 << 22  # above what any kernel gives (PID_MAX_LIMIT)
_LATEST = 1 << 38  # seconds: a time that has a date of four digits
_EXDEV, _EINVAL, _EFBIG, _ENOSPC = 18, 22, 27, 28
_BY_FORCE = "delete the container by force"


class State(Record):
    """`started` is in clock ticks since boot, which with `boot_id` tells the process from a later one of the same number;
    `created` and `started_at` are in seconds since 1970. A `pid` of 0: not made yet, or died while it was being made.

    `cgroups_path` is what `cgroup` was or will be made from; `rootfs` is the root's directory on the host; `command` is the
    first word of the process, for messages; `own_pids`: its PID namespace is its own, and ends with
    it; `hooked`: its spec has hooks; `resctrl` are the directories of linux.intelRdt that
    were made for it; `manager` makes its cgroup ("systemd", or "" for whoever does so here); `pipes` are the inodes of those
    that are its standard input, output and error, 0 for what is none.
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
    manager: str = ""
    pipes: tuple[int, ...] = ()


class Identity(Record):
    """What never changes once there is a process, with the meaning it has in State."""

    pid: int
    started: int
    boot_id: str
    cgroup: dict[str, str] = {}  # noqa: RUF012


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
    known = Identity(state.pid, state.started, state.boot_id, state.cgroup)
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
    path = directory + "/state.json"
    try:
        state = _read(path, State)
    except FileNotFoundError:
        if any(os.path.lexists(f"{directory}/{name}") for name in ("identity.json", "config.json")):
            raise StorageError(f"damaged: {path} is gone", _BY_FORCE) from None
        raise NotFound("container does not exist") from None
    _check_process(state, path)
    if not 0 <= state.created < _LATEST:
        raise StorageError(f"damaged: {path}: created is no time", _BY_FORCE)
    return state


def restore(directory: str, fd: int) -> State | None:
    """Write state.json again as the descriptor `fd` of it has it, and return it; None where that cannot be: it was deleted
    while somebody had it open.
    """
    try:
        state = document.decode(State, jsontext.loads(os.pread(fd, _LONGEST_STATE, 0)), "the state")
        _check_process(state, "the state")
        save(directory, state)
    except (OSError, jsontext.JSONError, InvalidValue, StorageError):
        return None
    return state


def load_identity(directory: str) -> Identity:
    """Return what identity.json knows of a container. Raises FileNotFoundError, StorageError where the file is damaged."""
    known = _read(directory + "/identity.json", Identity)
    _check_process(known, directory + "/identity.json")
    return known


def agree(state: State, known: Identity) -> bool:
    """Say whether both tell of the same process and cgroup."""
    return (state.pid, state.started, state.boot_id, state.cgroup) == (known.pid, known.started, known.boot_id, known.cgroup)


def check_identity(directory: str, state: State) -> None:
    """Raise StorageError where identity.json says otherwise: a process that runs could be taken for one that has ended."""
    try:
        if agree(state, load_identity(directory)):
            return
    except FileNotFoundError:
        return  # not made yet, or a deletion has begun
    raise StorageError(f"damaged: state.json and identity.json in {directory} contradict each other", _BY_FORCE)


def _check_process(record: State | Identity, path: str) -> None:
    if not 0 <= record.pid < _NO_PID or (record.pid and not (record.started > 0 and record.boot_id)):
        raise StorageError(f"damaged: {path}: pid, started and bootId are no process", _BY_FORCE)


def _read(path: str, kind: type[_R]) -> _R:
    """Return the record in the file `path`. Raises FileNotFoundError, StorageError where it is damaged."""
    try:
        raw = read_regular(path, _MOST)
        return document.decode(kind, jsontext.loads(raw), path)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in {_EINVAL, _EFBIG}:
            raise StorageError(f"damaged: {path}: {error.strerror}", _BY_FORCE) from None
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except (jsontext.JSONError, InvalidValue) as error:
        raise StorageError(f"damaged: {path}: {error}", _BY_FORCE) from None


def status(state: State, directory: str) -> str:
    """Return "creating", "created", "running", "paused" or "stopped", as the kernel and the gate tell (runtime.md, State)."""
    if not state.pid:
        return "creating" if is_held(directory) else "stopped"  # whoever was creating it has died
    if not state.started or state.boot_id != pidfds.boot_id() or pidfds.start_time(state.pid) != state.started:
        return "stopped"
    if is_frozen(state):
        return "paused"
    return "created" if _waits_at_gate(directory) else "running"


def is_frozen(state: State) -> bool:
    """Tell whether the processes of the container are paused."""
    return bool(state.cgroup) and cgroups.from_paths(state.cgroup).is_frozen()


def _waits_at_gate(directory: str) -> bool:
    """Say whether somebody reads from the gate: a `start` that was killed may have left it behind."""
    try:
        os.close(os.open(directory + "/gate", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def hold(directory: str) -> int:
    """Wait for the lock of a container and return its descriptor; -1 where the directory was deleted while we waited.

    Whoever makes or changes a container has it. Raises StorageError.
    """
    import fcntl  # not for those who take none

    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise StorageError(f"cannot use {directory}: {error.strerror}") from None
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        if os.path.samestat(os.stat(directory), os.fstat(fd)):
            return fd
    except FileNotFoundError:
        pass
    os.close(fd)
    return -1


def let_go(fd: int) -> None:
    """Free the lock `fd` and close it, also where a process that was forked meanwhile has a duplicate of it."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def is_held(directory: str) -> bool:
    """Tell whether somebody has the lock of the container of that directory; it is not taken for the question."""
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


def forget(directory: str, *, whole: bool = False) -> None:
    """Delete the directory of a container that is gone; what is gone already is no error. Raises StorageError.

    What is there and was not made by us is deleted only where the `whole` directory has to go.
    """
    try:
        # The identity first: alone it would stand for a container whose state is damaged. The state last: it is found again.
        for name in sorted(os.listdir(directory), key=lambda name: (name == "state.json", name != "identity.json")):
            if whole and _is_directory(f"{directory}/{name}"):
                _delete_directory(f"{directory}/{name}")
            else:
                _gone(os.unlink, f"{directory}/{name}")
        _gone(os.rmdir, directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot delete {directory}: {error.strerror}") from None


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _delete_directory(path: str) -> None:
    """Delete what somebody has made there, which no other user can change meanwhile.
    What is mounted there stays, and is an error.
    """
    from cratebox.linux import beneath, const

    try:
        os.close(beneath.openat2(const.AT_FDCWD, path, const.O_PATH | os.O_DIRECTORY, resolve=const.RESOLVE_NO_XDEV))
    except OSError as error:
        raise OSError(error.errno, f"something is mounted at {path}" if error.errno == _EXDEV else error.strerror) from None
    for name in os.listdir(path):
        if _is_directory(f"{path}/{name}"):
            _delete_directory(f"{path}/{name}")
        else:
            _gone(os.unlink, f"{path}/{name}")
    _gone(os.rmdir, path)


def _gone(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except FileNotFoundError:
        pass
