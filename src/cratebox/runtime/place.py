"""The place of a container, ROOT/ID: its name, its lock, and what a `create` that was killed has left there.

    state.json      what is known about the container (state.py)
    config.json     the spec that it was made of
    identity.json   what it takes to end the container, should that file be damaged
    gate            a FIFO: the container's process waits for a byte from it, see sync.py
    report          a FIFO: what keeps its program from running is written there
    door            a socket: an ordinary user's exec asks there for the way in, see door.py

Whoever changes a container holds a flock on its directory (state.hold), so that verbs which meet behave as if one came after
the other.
"""

from __future__ import annotations

import os
import time

from cratebox.cgroup import base as cgroups
from cratebox.cgroup import mark
from cratebox.errors import Conflict, InvalidValue, NotFound, RuntimeFailure, StorageError
from cratebox.linux import pidfds
from cratebox.paths import private_directory
from cratebox.runtime import state as saved

CACHE = "@cache"  # beside the containers, under a name that none can have
_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_FILES = (
    "config.json",
    "config.json.new",
    "identity.json",
    "identity.json.new",
    "state.json",
    "state.json.new",
    "gate",
    "report",
    "door",
)
_TRIES = 200  # of 10 ms


def check_id(name: str) -> None:
    """Raise InvalidValue unless `name` can be a container's ID: letters, digits, `_`, `+`, `-`, `.`, at most 255: it is the
    name of a directory and of a cgroup.
    """
    if not 0 < len(name) <= 255 or name in {".", ".."} or not _ID_LETTERS.issuperset(name):
        raise InvalidValue(f"invalid container ID {name!a}", "letters, digits, _, +, - and . are allowed")


def directory_of(root: str, name: str) -> str:
    """Return where the container `name` is kept. Raises InvalidValue for what is no ID."""
    check_id(name)
    return f"{root}/{name}"


def lock(directory: str) -> int:
    """Wait for the lock of a container that is there; return its descriptor. Raises NotFound."""
    while (fd := saved.hold(directory)) < 0:
        if not os.path.isdir(directory):
            raise NotFound("container does not exist")
    return fd


def unlink(directory: str, *names: str) -> None:
    """Delete files; what is not there, or cannot be deleted, is passed over."""
    for name in names:
        try:
            os.unlink(os.path.join(directory, name))
        except OSError:
            pass


def claim(root: str, name: str) -> tuple[str, int]:
    """Make the container's directory; return it and its lock. Raises Conflict, StorageError."""
    directory = private_directory(root) + "/" + name
    while True:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageError(f"cannot make {directory}: {error.strerror}") from None
        fd = saved.hold(directory)
        if fd < 0:
            continue  # deleted in between
        try:
            _take_over(directory)
        except BaseException:
            os.close(fd)
            raise
        return directory, fd


def _take_over(directory: str) -> None:
    """Clear away what a `create` that was killed has left. Raises Conflict where there is a container."""
    try:
        found = saved.load(directory)
    except NotFound:
        pass  # an empty directory, ours most likely
    else:
        if found.pid:
            raise Conflict("container with given ID already exists", "delete it first, or choose another ID")
        remove_cgroup(found, directory)
    unlink(directory, *_FILES)


def make_fifos(directory: str) -> tuple[int, int]:
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


def owner(directory: str) -> str:
    """Return what the cgroup of the container in `directory` is marked with. Raises OSError."""
    info = os.stat(directory)
    return f"{info.st_dev}:{info.st_ino}"


def cgroup_of(state: saved.State, directory: str) -> cgroups.Cgroup:
    """Return the container's cgroup: the one of `state` if it is marked as its own, else the one that is.

    It has no directories where there is none, or where it was that of an earlier boot.
    """
    if state.boot_id and state.boot_id != pidfds.boot_id():
        return cgroups.from_paths({})  # what is there under that name by now is another container's
    own = owner(directory)
    group = cgroups.from_paths(state.cgroup)
    marks = {mark.of(one) for one in group.directories.values()}
    confirmed = _is_confirmed(state, directory)
    if confirmed and marks <= {own}:
        return group
    found = mark.find(own)
    # A directory without a mark is gone, or of a kernel that knows no marks.
    return group if confirmed and marks <= {own, ""} and not found.directories else found


def _is_confirmed(state: saved.State, directory: str) -> bool:
    try:
        return saved.load_identity(directory).cgroup == state.cgroup
    except (FileNotFoundError, StorageError):
        return False


def find_cgroup(directory: str) -> dict[str, str]:
    """Return what `from_paths` takes for the cgroup that is marked as that of the container in `directory`, {} for none."""
    return mark.find(owner(directory)).paths()


def remove_cgroup(state: saved.State, directory: str) -> None:
    """Kill what is left in the container's cgroup and remove it. Raises RuntimeFailure where something does not die."""
    group = cgroup_of(state, directory)
    group.kill()
    group.remove()
    whole = group.directories.keys() == {"unified"}  # else its create may have died when some hierarchies were marked, not all
    if not state.cgroup and not whole and state.cgroups_path and state.boot_id in {"", pidfds.boot_id()}:
        _remove_unmarked(state)


def _remove_unmarked(state: saved.State) -> None:
    """Remove what is left of the cgroup of a container whose create died before it could mark all that it had made.

    Making the directories again finds them. Its process is dying, if there is one, and nobody is killed here: a process that
    stays may as well be another container's, which had that path before. Raises RuntimeFailure then.
    """
    path = state.cgroups_path
    for _ in range(_TRIES):
        try:
            driver(manager=state.manager).clear(path)
        except Conflict as error:
            in_use = error.message
            time.sleep(0.01)
        else:
            return
    raise RuntimeFailure(
        f"cannot remove cgroup {path}: {in_use}",
        "if that is a process of this container: kill it and delete again; if not: delete the other container first",
    )


def driver(rootless: bool | None = None, manager: str = "") -> cgroups.Driver:
    """Return what makes the cgroups of this caller's containers: `manager` (cgroupfs, systemd, disabled), or what there is.

    Root of a user namespace is no more than its user was. Raises InvalidValue, Unsupported.
    """
    from cratebox.cgroup import detect
    from cratebox.linux import userns

    if rootless is None:
        rootless = os.geteuid() != 0 or not userns.is_first()
    return detect.driver(manager, rootless)
