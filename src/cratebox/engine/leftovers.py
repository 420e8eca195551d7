"""What commands and supervisors that were killed have left on the machine, told from what living ones are just making.

| what | it is garbage where |
|---|---|
| ROOT/containers/.new-ID, .removing-ID | nobody has its lock |
| ROOT/volumes/.new-*, .removing-* | nobody has the lock of all volumes; of a container that is half removed, volumes go that were to |
| ROOT/containers/ID/*.PID.new, copy.new | no process PID; nobody has the container's lock |
| ROOT/names/NAME | no container has that ID, and none is being made with it |
| STATE/containers/ID | the container that it says it is of is gone; a process of it that is left is ended first |
| a cgroup crate-ID of any hierarchy | nobody is in it, and the container does not run: or nobody knows one, and it is older than a minute |
| ROOT/images/index.json.damaged | always: a repair has put it aside |
| ROOT/cache/* | no container was started with it for a month |

The store has garbage of its own: image/store.py.
"""

from __future__ import annotations

import os
import time

from cratebox import record_file
from cratebox.engine import lost, name_links, records
from cratebox.engine.mounts import anonymous_volumes
from cratebox.engine.vanishing import WITH_VOLUMES, delete_tree
from cratebox.errors import CrateError, NotFound, StorageError
from cratebox.linux import lock, process
from cratebox.paths import Paths
from cratebox.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images

_SECONDS_TO_LOCK = 5.0  # a directory is made a moment before its lock is taken
_MOMENT = 0.2  # seconds; much longer than that moment
_SECONDS_TO_JOIN = 60.0  # a cgroup is made a moment before a process is in it
_SECONDS_OF_CACHE = 30 * 24 * 3600.0
_SIGKILL = 9
_HEX = frozenset("0123456789abcdef")
_CGROUPS = "/sys/fs/cgroup"
_DEEPEST = 8


def clear(paths: Paths, images: Images) -> list[str]:
    """Delete all of it; return a line for each thing. It raises nothing: what cannot be deleted stays for the next time."""
    found = [f"container {identity}" for identity in sweep(paths, images, at_once=True)]
    for each in (_volumes, _states, _names, _half_files, _damaged_index, _cgroups, _cache):
        try:
            found += each(paths, images)
        except (CrateError, OSError):
            continue
    return found


def sweep(paths: Paths, images: Images, at_once: bool = False) -> list[str]:
    """Delete containers that are half made or half removed and whose lock nobody has; return their IDs.

    Where it is a removal's by-work, one that is young is left alone; `at_once` looks again after a moment instead.
    """
    gone = []
    for name in _listed(paths.containers):
        kind, _, identity = name.partition("-")
        path = f"{paths.containers}/{name}"
        if kind not in {".new", ".removing"}:
            continue
        try:
            if not _is_abandoned(path, at_once):
                continue
            lost.remove_cgroup(path, identity, images.identity.rootless)
            held = name_links.name_of(paths, identity)
            if held:
                name_links.release(paths, held, identity)
            if kind == ".removing":
                remove_volumes(paths, images.identity, path)
            delete_tree(images.identity, path)
            gone.append(identity)
        except (CrateError, OSError):
            continue  # it was not what the user asked for; the next one tries again
    return gone


def remove_volumes(paths: Paths, owner: Identity, where: str) -> None:
    """Remove the volumes that were to go with the container whose directory was `where`, which is half removed."""
    try:
        container = record_file.read(where + "/container.json", records.Container)
    except StorageError:
        return
    if container and (container.config.remove or os.path.exists(where + WITH_VOLUMES)):
        names = anonymous_volumes(container.config.mounts)
        if names:
            from cratebox.engine.volumes import Volumes

            volumes = Volumes(paths, owner)
            for hidden in volumes.hide_unused(names):
                volumes.delete(hidden)


def _volumes(paths: Paths, images: Images) -> Sequence[str]:
    from cratebox.engine.volumes import Volumes

    return Volumes(paths, images.identity).sweep()


def _is_abandoned(path: str, at_once: bool) -> bool:
    if records.is_locked(path):
        return False
    if time.time() - os.lstat(path).st_mtime >= _SECONDS_TO_LOCK:
        return True
    if not at_once:
        return False
    time.sleep(_MOMENT)
    return os.path.isdir(path) and not records.is_locked(path)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def is_id(text: str) -> bool:
    """Tell whether `text` is of the form of a container's ID."""
    return len(text) == 64 and _HEX.issuperset(text)


def _is_known(paths: Paths, identity: str) -> bool:
    """Tell whether there is a container of that ID: whole, being made, or being removed by somebody who lives."""
    return any(os.path.lexists(f"{paths.containers}/{kind}{identity}") for kind in ("", ".new-", ".removing-"))


def _states(paths: Paths, _images: Images) -> Iterator[str]:
    for identity in filter(is_id, _listed(paths.running)):
        where = f"{paths.running}/{identity}"
        if _is_known(paths, identity) or not _is_of(paths, identity, where):
            continue
        _end(where)
        runtime_state.forget(where)
        yield f"state of container {identity}"


def _is_of(paths: Paths, identity: str, where: str) -> bool:
    """The state directory may be one of several roots, and another's containers are not ours to judge."""
    try:
        return runtime_state.load(where).bundle == f"{paths.containers}/{identity}"
    except NotFound:
        return True  # it is empty
    except StorageError:
        return False


def _end(where: str) -> None:
    """Somebody has deleted the container's directory under its process, which nobody can reach by name any more."""
    try:
        found = runtime_state.load(where)
        if found.boot_id != process.boot_id():
            return
        pidfd = process.open_pidfd(found.pid, found.started)
    except (NotFound, ProcessLookupError):
        return
    try:
        process.send_signal(pidfd, _SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _names(paths: Paths, _images: Images) -> Iterator[str]:
    for name in _listed(paths.root + "/names"):
        holder = name_links.holder_of(paths, name)
        if holder is None or not _is_known(paths, holder):
            name_links.release(paths, name, holder or "")
            yield f"name {name}"


def _half_files(paths: Paths, images: Images) -> Iterator[str]:
    for identity in records.identities(paths):
        where = records.directory(paths, identity)
        if os.path.islink(where):
            continue  # what is there is not ours: `system check` tells of it
        for name in _listed(where):
            if name.endswith(".new") and _is_orphan(name):
                os.unlink(f"{where}/{name}")
                yield f"{where}/{name}"
        if not os.path.isdir(where + "/copy.new"):
            continue
        held = lock.try_hold(where + "/lock")
        if held is not None:
            try:
                delete_tree(images.identity, where + "/copy.new")
                yield where + "/copy.new"
            finally:
                os.close(held)


def _damaged_index(paths: Paths, _images: Images) -> Iterator[str]:
    """What `crate system check --repair` has put aside for whoever wants to see it."""
    path = paths.images + "/index.json.damaged"
    if os.path.lexists(path):
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
        yield path


def _is_orphan(name: str) -> bool:
    """FILE.PID.new is written by the process PID, then renamed."""
    pid = name.removesuffix(".new").rpartition(".")[2]
    return pid.isdigit() and not os.path.isdir(f"/proc/{pid}")


def _cgroups(paths: Paths, _images: Images) -> Iterator[str]:
    for path in _cgroup_directories():
        identity = os.path.basename(path).removesuffix(".scope").removeprefix("crate-")
        try:
            if not _is_left(paths, identity, path):
                continue
            for directory, _names, _files in os.walk(path, topdown=False):
                os.rmdir(directory)  # refused where a process is in it
        except (CrateError, OSError):
            continue
        yield f"cgroup {path}"


def _cgroup_directories() -> Iterator[str]:
    base = _CGROUPS.count("/")
    for directory, names, _files in os.walk(_CGROUPS):
        for name in names[:]:
            if name.startswith("crate-") and is_id(name.removesuffix(".scope")[len("crate-") :]):
                names.remove(name)
                yield f"{directory}/{name}"
        if directory.count("/") - base >= _DEEPEST:
            names.clear()


def _is_left(paths: Paths, identity: str, path: str) -> bool:
    if os.path.isdir(records.directory(paths, identity)):
        return records.running_state(paths, identity) is None and not records.is_locked(records.directory(paths, identity))
    if _is_known(paths, identity):
        return False
    return time.time() - os.stat(path).st_mtime > _SECONDS_TO_JOIN


def _cache(paths: Paths, _images: Images) -> Iterator[str]:
    """Reading a filter moves its time of access, at least once a day (relatime)."""
    for name in _listed(paths.cache):
        path = f"{paths.cache}/{name}"
        info = os.lstat(path)
        if time.time() - max(info.st_atime, info.st_mtime) > _SECONDS_OF_CACHE:
            os.unlink(path)
            yield path
