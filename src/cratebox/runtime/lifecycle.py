"""The verbs of an OCI runtime (runtime.md), each in a process of its own: create, start, state, kill, delete.

    ROOT/ID/state.json   what is known about the container (state.py)
    ROOT/ID/gate         a FIFO: the container's process waits for a byte from it, see sync.py
    ROOT/ID/report       a FIFO: what keeps its program from running is written there

Whoever changes a container holds a flock on ROOT/ID, so that verbs which meet behave as if one came after the other. A
`create` that is killed leaves at most that directory and an empty cgroup: its process dies with it, and the next `create`
or `delete` of that ID removes both.
"""

from __future__ import annotations

import fcntl
import os
import select
import time

from cratebox import jsontext
from cratebox.cgroup import base as cgroups
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, RuntimeFailure, StorageError, Unsupported
from cratebox.linux import process
from cratebox.paths import private_directory
from cratebox.record import Record
from cratebox.runtime import console, seccomp, spec, sync, validate
from cratebox.runtime import create as creation
from cratebox.runtime import state as saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_OF_SPEC = 16 << 20  # bytes
_SIGKILL = 9
_MILLISECONDS_TO_DIE = 10_000
_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_NO_ID = "@cache"  # beside the containers, under a name that none can have
_FILES = ("state.json", "state.json.new", "gate", "report")


class Settings(Record):
    """What the caller of create and run chooses beside the bundle."""

    pid_file: str | None = None
    console_socket: str | None = None
    preserve_fds: int = 0  # descriptors 3 and up that the container's program inherits
    no_pivot: bool = False
    no_new_keyring: bool = False


# --- create -----------------------------------------------------------------------------------------------------------


def create(root: str, name: str, bundle: str, **settings: Any) -> None:
    """Create the container `name` of `bundle`; its process waits. `settings` are the fields of Settings.

    The container gets this process's standard streams. Raises InvalidValue and Unsupported for what cannot be run as it is
    written, Conflict for a name that is taken, RuntimeFailure; nothing of the container is left then.
    """
    _create(root, name, bundle, Settings(**settings), detached=True)


def _create(root: str, name: str, bundle: str, settings: Settings, detached: bool) -> tuple[int, int]:
    """Create; return the pid and the terminal's master (-1 where it was sent away, or there is none)."""
    check_id(name)
    document = read_spec(bundle)
    validate.validate(document)
    _check(document, settings, detached)
    directory, lock = _claim(root, name)
    try:
        return _make(root, directory, _blank(name, bundle, document), document, settings)
    finally:
        os.close(lock)


def check_id(name: str) -> None:
    """Raise InvalidValue unless `name` can be a container's ID: letters, digits, `_`, `+`, `-`, `.`, at most 1024."""
    if not 0 < len(name) <= 1024 or name in {".", ".."} or not _ID_LETTERS.issuperset(name):
        raise InvalidValue(f"invalid container ID {name!a}", "letters, digits, _, +, - and . are allowed")


def read_spec(bundle: str) -> spec.Spec:
    """Return the spec in the directory `bundle`. Raises InvalidValue that says what is wrong with it."""
    path = bundle + "/config.json"
    try:
        with open(path, "rb") as file:
            raw = file.read(_MOST_OF_SPEC + 1)
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {(error.strerror or '').lower()}") from None
    if len(raw) > _MOST_OF_SPEC:
        raise InvalidValue(f"{path} is larger than 16 MiB")
    try:
        return spec.decode(jsontext.loads(raw))
    except jsontext.JSONError as error:
        raise InvalidValue(f"{path}: {error}") from None


def _check(document: spec.Spec, settings: Settings, detached: bool) -> None:
    terminal = bool(document.process and document.process.terminal)
    if settings.no_pivot:
        raise Unsupported(
            "--no-pivot is not done: chroot is no substitute for pivot_root", "put the bundle on a disk or a tmpfs"
        )
    if terminal and detached and not settings.console_socket:
        raise InvalidValue("the spec asks for a terminal: --console-socket must say where to send it")
    if settings.console_socket and not terminal:
        raise InvalidValue("--console-socket without process.terminal in the spec: there is no terminal to send")
    for fd in range(3, 3 + settings.preserve_fds):
        try:
            os.fstat(fd)
        except OSError:  # a file that we open ourselves would get the number, and reach the container
            raise InvalidValue(f"--preserve-fds {settings.preserve_fds}: descriptor {fd} is not open") from None


def _blank(name: str, bundle: str, document: spec.Spec) -> saved.State:
    assert document.root
    assert document.process
    return saved.State(
        oci_version=document.oci_version,
        id=name,
        bundle=bundle,
        pid=0,
        started=0,
        boot_id=process.boot_id(),
        created=time.time(),
        annotations=document.annotations or {},
        owner=os.geteuid(),
        cgroups_path=(document.linux.cgroups_path if document.linux else "") or f"crate-oci/{name}",
        rootfs=os.path.normpath(os.path.join(bundle, document.root.path)),
        command=document.process.args[0],
    )


def _claim(root: str, name: str) -> tuple[str, int]:
    """Make the container's directory; return it and its lock. Raises Conflict, StorageError."""
    directory = private_directory(root) + "/" + name
    while True:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageError(f"cannot make {directory}: {error.strerror}") from None
        lock = _lock(directory)
        if lock < 0:
            continue  # deleted in between
        try:
            _take_over(directory)
        except BaseException:
            os.close(lock)
            raise
        return directory, lock


def _take_over(directory: str) -> None:
    """Clear away what a `create` that was killed has left. Raises Conflict where there is a container."""
    try:
        found = saved.load(directory)
    except NotFound:
        pass  # an empty directory, ours most likely
    else:
        if found.pid:
            raise Conflict("container with given ID already exists", "delete it first, or choose another ID")
        _remove_cgroup(found)
    _unlink(directory, *_FILES)


def _make(root: str, directory: str, state: saved.State, document: spec.Spec, settings: Settings) -> tuple[int, int]:
    group, created, ends = None, None, (-1, -1)
    try:
        saved.save(directory, state)
        group = _driver().create(state.cgroups_path, document.linux.resources if document.linux else None)
        ends = _make_fifos(directory)
        created = creation.create(_wish(root, state, document, settings).replace(cgroup=group, gate=ends[0], report=ends[1]))
        state = state.replace(pid=created.pid, started=created.started, cgroup=group.paths())
        saved.save(directory, state)
        if settings.pid_file:
            _write_pid(settings.pid_file, created.pid)
        master = _hand_over(created.console, settings)
        creation.keep(created)
    except BaseException as error:
        if created:
            creation.end(created)
        _undo(directory, group, settings.pid_file if created else None)
        if isinstance(error, OSError):
            raise RuntimeFailure(f"cannot create container {state.id}: {error.filename or ''} {error.strerror}") from None
        raise
    finally:
        for fd in ends:
            if fd >= 0:
                os.close(fd)
    return created.pid, master


def _driver() -> cgroups.Driver:
    return cgroups.detect(rootless=os.geteuid() != 0)


def _wish(root: str, state: saved.State, document: spec.Spec, settings: Settings) -> creation.Wish:
    profile = document.linux.seccomp if document.linux else None
    return creation.Wish(
        spec=document,
        bundle=state.bundle,
        filter=seccomp.cached_filter(f"{root}/{_NO_ID}", profile) if profile else None,
        preserve_fds=settings.preserve_fds,
        new_keyring=not settings.no_new_keyring,
    )


def _make_fifos(directory: str) -> tuple[int, int]:
    """Make the gate and the report; return the ends that the container's process inherits.

    It has the gate open for writing too, so that it never sees an end there and waits for days if need be.
    """
    gate, report = directory + "/gate", directory + "/report"
    os.mkfifo(gate, 0o600)
    os.mkfifo(report, 0o600)
    reader = os.open(report, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without one the next line would wait
    try:
        return os.open(gate, os.O_RDWR | os.O_CLOEXEC), os.open(report, os.O_WRONLY | os.O_CLOEXEC)
    finally:
        os.close(reader)


def _write_pid(path: str, pid: int) -> None:
    """Write the file that the engine waits for: it must never be seen half written."""
    new = f"{path}.{os.getpid()}"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(fd, str(pid).encode())
        os.close(fd)
        os.rename(new, path)
    except OSError as error:
        _unlink("", new)
        raise StorageError(f"cannot write the pid file {path}: {error.strerror}") from None


def _hand_over(master: int, settings: Settings) -> int:
    if master < 0 or not settings.console_socket:
        return master
    console.send(settings.console_socket, master)
    os.close(master)
    return -1


def _undo(directory: str, group: cgroups.Cgroup | None, pid_file: str | None) -> None:
    """Remove what a failed create made. What cannot be removed must not hide why it failed."""
    if group:
        try:
            group.remove()
        except CrateError:
            pass
    if pid_file:
        _unlink("", pid_file)
    saved.forget(directory)


def _remove_cgroup(state: saved.State) -> None:
    """Kill what is left in the container's cgroup and remove it. Raises RuntimeFailure where something does not die."""
    if state.cgroup:
        group = cgroups.from_paths(state.cgroup)
        group.kill()
        group.remove()
        return
    # Its create died before it could write down which directories it had made: making them again finds them.
    for _ in range(200):
        try:
            _driver().create(state.cgroups_path).remove()
        except Conflict:
            time.sleep(0.01)  # its process is dying
        else:
            return


# --- finding a container ----------------------------------------------------------------------------------------------


def _directory(root: str, name: str) -> str:
    check_id(name)
    return f"{root}/{name}"


def _lock(directory: str) -> int:
    """Wait for the lock of a container and return its descriptor; -1 where the directory was deleted while we waited."""
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


def _lock_existing(directory: str) -> int:
    while (lock := _lock(directory)) < 0:
        if not os.path.isdir(directory):
            raise NotFound("container does not exist")
    return lock


def _unlink(directory: str, *names: str) -> None:
    for name in names:
        try:
            os.unlink(os.path.join(directory, name))
        except OSError:
            pass


# --- start ------------------------------------------------------------------------------------------------------------


def start(root: str, name: str) -> None:
    """Let the program of a created container run; return when it does.

    Raises NotFound, Conflict where it runs or has stopped, CommandNotFound, CannotInvoke, RuntimeFailure.
    """
    directory = _directory(root, name)
    lock = _lock_existing(directory)
    try:
        state = saved.load(directory)
        now = saved.status(state, directory)
        if now == "running":
            raise Conflict("cannot start an already running container")
        if now != "created":
            raise Conflict("cannot start a container that has stopped", "delete it and create it again")
        error = _open_gate(directory, state)
        if error:
            raise error
        saved.save(directory, state.replace(started_at=time.time()))
    except OSError as error:
        raise RuntimeFailure(f"cannot start container {name}: {error.strerror}") from None
    finally:
        os.close(lock)


def _open_gate(directory: str, state: saved.State) -> CrateError | None:
    """Let the process through; return what kept its program from running, once the process is gone."""
    pidfd = process.open_pidfd(state.pid, state.started)
    # A FIFO's reader may open it before there is a writer, its writer only where there is a reader: ENXIO, if it has died.
    report = os.open(directory + "/report", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    gate = os.open(directory + "/gate", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.set_blocking(report, True)
        os.write(gate, sync.GO)
        message = b""
        while part := os.read(report, 65536):
            message += part
        error = sync.read_report(message, state.command)
        if error:
            _wait_for_end(pidfd)
    finally:
        for fd in (pidfd, report, gate):
            os.close(fd)
    _unlink(directory, "gate", "report")
    return error


def _wait_for_end(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_MILLISECONDS_TO_DIE):
        raise RuntimeFailure("the container's process does not die", "it may wait for a disk or a network file system")


# --- state and list ---------------------------------------------------------------------------------------------------


def state(root: str, name: str) -> dict[str, Any]:
    """Return the state of a container (runtime.md, State) with runc's additions. Raises NotFound, StorageError."""
    directory = _directory(root, name)
    found = saved.load(directory)
    now = saved.status(found, directory)
    return {
        "ociVersion": found.oci_version,
        "id": found.id,
        "pid": 0 if now == "stopped" else found.pid,
        "status": now,
        "bundle": found.bundle,
        "rootfs": found.rootfs,
        "created": _timestamp(found.created),
        "owner": _user_name(found.owner),
        **({"annotations": found.annotations} if found.annotations else {}),
    }


def _timestamp(seconds: float) -> str:
    """Return RFC 3339, as Go prints it."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e9):09d}Z"


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def list_containers(root: str) -> list[dict[str, Any]]:
    """Return the state of each container, by ID; of one whose state file is damaged, as good as nothing but the ID."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(state(root, name))
        except (NotFound, InvalidValue):
            continue
        except StorageError:
            found.append({"ociVersion": spec.VERSION, "id": name, "pid": 0, "status": "damaged", "bundle": ""})
    return found


# --- kill and delete --------------------------------------------------------------------------------------------------


def kill(root: str, name: str, signal: int, *, all: bool = False) -> None:  # noqa: A002  runc's word for it
    """Send `signal` to the container's process, or to all of its processes. Raises NotFound, Conflict, RuntimeFailure.

    It takes no lock: one call to the kernel comes before or after whatever else happens.
    """
    directory = _directory(root, name)
    found = saved.load(directory)
    if saved.status(found, directory) not in {"created", "running"}:
        raise Conflict("container not running")
    try:
        if all:
            _signal_all(found, signal)
        else:
            _signal_one(found, signal)
    except ProcessLookupError:
        raise Conflict("container not running") from None
    except OSError as error:
        raise RuntimeFailure(f"cannot send signal {signal} to container {name}: {(error.strerror or '').lower()}") from None


def _signal_one(found: saved.State, signal: int) -> None:
    pidfd = process.open_pidfd(found.pid, found.started)
    try:
        process.send_signal(pidfd, signal)
    finally:
        os.close(pidfd)


def _signal_all(found: saved.State, signal: int) -> None:
    group = cgroups.from_paths(found.cgroup)
    if signal == _SIGKILL:
        _signal_one(found, signal)  # the end of its PID namespace
        group.kill()
        return
    for pid in group.pids() or _of_namespace(found.pid):
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            pass


def _of_namespace(leader: int) -> list[int]:
    """Return the processes in the PID namespace of `leader`, for a container without a cgroup of its own."""
    wanted = os.readlink(f"/proc/{leader}/ns/pid")
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == wanted:
                found.append(int(entry))
        except OSError:
            continue
    return found


def delete(root: str, name: str, *, force: bool = False) -> None:
    """Remove a container that has stopped or was never started; with `force` any, by SIGKILL.

    Raises NotFound, Conflict where it runs, RuntimeFailure where it does not die (deleting may then be tried again).
    """
    directory = _directory(root, name)
    if force:
        _kill_early(directory)
    lock = _lock_existing(directory)
    try:
        try:
            found = saved.load(directory)
        except StorageError:
            if not force:
                raise
            found = _blank_of_damaged(name)
        now = saved.status(found, directory)
        if now == "running" and not force:
            raise Conflict(f"cannot delete container {name} that is not stopped: {now}", "kill it first, or delete by force")
        if now in {"created", "running"}:
            _end(found)
        _remove_cgroup(found)
        saved.forget(directory)
    except OSError as error:
        raise RuntimeFailure(f"cannot delete container {name}: {error.strerror}") from None
    finally:
        os.close(lock)


def _kill_early(directory: str) -> None:
    """Kill before waiting for the lock: a `start` that waits for the process would hold it for ever."""
    try:
        found = saved.load(directory)
        if saved.status(found, directory) in {"created", "running"}:
            _signal_all(found, _SIGKILL)
    except (CrateError, OSError):
        pass  # what is to be said about it is said under the lock


def _blank_of_damaged(name: str) -> saved.State:
    return saved.State(spec.VERSION, name, "", 0, 0, "", 0.0, cgroups_path=f"crate-oci/{name}")


def _end(found: saved.State) -> None:
    try:
        pidfd = process.open_pidfd(found.pid, found.started)
    except ProcessLookupError:
        return
    try:
        process.send_signal(pidfd, _SIGKILL)
        cgroups.from_paths(found.cgroup).kill()  # thaws, where it is frozen: what is frozen does not die
        _wait_for_end(pidfd)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


# --- run --------------------------------------------------------------------------------------------------------------


def run(root: str, name: str, bundle: str, *, detach: bool = False, **settings: Any) -> int:
    """Create and start; return at once with `detach`, else stay in the foreground and return the exit code (128+N for
    signal N) once the container has ended and is deleted. Raises as create and start; nothing is left then.
    """
    before = console.hold_signals()
    try:
        pid, master = _create(root, name, bundle, Settings(**settings), detached=detach)
        try:
            start(root, name)
            if detach:
                return 0
            pidfd = os.pidfd_open(pid)
            console.stay(pidfd, master, before)
            status = os.waitpid(pid, 0)[1]
        except BaseException:
            _delete_quietly(root, name)
            raise
        _delete_quietly(root, name)
        return process.waited_status(status)
    finally:
        console.release_signals(before)


def _delete_quietly(root: str, name: str) -> None:
    try:
        delete(root, name, force=True)
    except NotFound:
        pass  # somebody else was faster
