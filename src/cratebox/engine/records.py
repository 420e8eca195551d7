"""A container on disk, and what is true of it now.

    ROOT/containers/ID/container.json   what it is: written when it is created, changed by edit.py alone
    ROOT/containers/ID/config.json      the OCI spec of its last start
    ROOT/containers/ID/seccomp.json     the profile of --security-opt seccomp= as it was then
    ROOT/containers/ID/exit.json        how that ended: written by its supervisor, into the room of exit.reserve
    ROOT/containers/ID/network.json     what it had of networks then: addresses and ports, for the next start
    ROOT/containers/ID/stopped          a mark: the user wanted it stopped, see stopped.py
    ROOT/containers/ID/waited           made by who waits for the end of a run: its exit code, see waiting.py
    ROOT/containers/ID/lock             held by whoever makes, runs or removes it; the kernel frees it, whatever happens
    ROOT/containers/ID/edit.lock        held for the moment in which container.json is changed
    ROOT/containers/ID/log, log.1, ...  what it said
    ROOT/containers/ID/rw/{upper,work}  its own changes, over the image's layers; or copy/, the layers and the changes in one
    ROOT/containers/ID/rootfs           where its root is mounted, in its own mount namespace alone
    ROOT/containers/ID/{hosts,hostname,resolv.conf}  made at each start, bound into its /etc
    ROOT/containers/.new-ID, .removing-ID            half made, half removed; garbage where nobody has the lock
    ROOT/secrets/NAME                   not of any container, see secrets.py
    ROOT/names/NAME -> ID               a symlink: made by one, seen by all, never half there
    STATE/containers/ID/state.json      the process, see runtime/state.py
    STATE/containers/ID/log-error       what kept its log from being written, while it runs
    STATE/containers/ID/watch.json      what its supervisor knows beyond that: restarts, health, see watching.py

What can be derived is not written down: a container runs if its process does.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.cgroup import base as cgroups
from cratebox.engine.config import ContainerConfig
from cratebox.engine.exits import LOST, Exit
from cratebox.engine.image_defaults import ImageDefaults
from cratebox.engine.name_links import holder_of
from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.linux import lock, process
from cratebox.paths import Paths
from cratebox.record import Record
from cratebox.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.mounts import MountWish
    from cratebox.network.model import Port

ALIVE = frozenset(("running", "paused", "restarting"))


class Container(Record):
    """What a container is. `created` is in seconds since 1970; `layers` are diff IDs, lowest first; `rootfs` is the directory
    of a `rootfs:DIR` image, or empty. `first_id`, `ids`: the range of the machine's IDs that is its own (--userns auto).
    """

    id: str
    name: str
    created: float
    image: str
    image_id: str
    config: ContainerConfig
    defaults: ImageDefaults = ImageDefaults()
    layers: tuple[str, ...] = ()
    rootfs: str = ""
    first_id: int = 0
    ids: int = 0


class ContainerStatus(Record):
    """A container and what is true of it now; times in seconds since 1970.

    `status` is created, running, paused, restarting or exited, and dead where the record is damaged; `health` is starting,
    healthy, unhealthy, or empty where nobody asks for it. `ports` are those that were wished; `networks` names. Removing is one
    step, so nobody ever sees it (see vanishing.py).
    """

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    created: float
    status: str
    exit_code: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    pid: int = 0
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    error: str = ""
    health: str = ""
    restart_count: int = 0
    oom_killed: bool = False
    network: str = ""
    networks: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    exposed: tuple[str, ...] = ()
    mounts: tuple[MountWish, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether it runs, or will by itself: what cannot be started or removed."""
        return self.status in ALIVE


def new_id() -> str:
    """Return a random ID, 64 hex digits."""
    return os.urandom(32).hex()


def directory(paths: Paths, identity: str) -> str:
    return f"{paths.containers}/{identity}"


def load(paths: Paths, identity: str) -> Container:
    """Return the container of that full ID. Raises NotFound, StorageError."""
    found = record_file.read(directory(paths, identity) + "/container.json", Container)
    if found is None:
        where = directory(paths, identity)
        if os.path.isdir(where) and not os.path.islink(where):
            raise StorageError(f"damaged: {where}/container.json is gone", f"crate rm -f {identity[:12]} removes the container")
        raise NotFound(f"no container {identity[:12]}")
    return found


def version(where: str) -> tuple[int, int]:
    """Return what tells the container's record, in the directory `where`, from any that replaces it."""
    try:
        info = os.stat(where + "/container.json")
    except OSError:
        return 0, 0
    return info.st_ino, info.st_mtime_ns


def identities(paths: Paths) -> list[str]:
    """Return the IDs of all containers; what is being made or removed is none."""
    try:
        return [name for name in os.listdir(paths.containers) if len(name) == 64 and name[0] != "."]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {paths.containers}: {error.strerror}") from None


def find(paths: Paths, reference: str) -> str:
    """Return the ID of the container of that name, ID or unique beginning of one. Raises NotFound, Conflict, StorageError."""
    wanted = reference.removeprefix("/")  # as `inspect` shows names
    if wanted and "/" not in wanted and "\0" not in wanted and len(wanted) <= 128:
        named = holder_of(paths, wanted)
        if named and os.path.isdir(directory(paths, named)):
            return named
        if len(wanted) == 64 and os.path.isdir(directory(paths, wanted)):
            return wanted
        found = [identity for identity in identities(paths) if identity.startswith(wanted.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            from cratebox.engine.states import ambiguous

            raise ambiguous(paths, wanted, found)
    from cratebox.engine.states import unknown

    raise unknown(paths, reference)


def try_lock(where: str) -> int | None:
    """Take the container's lock; return its descriptor, or None where somebody has it. Raises NotFound, StorageError."""
    try:
        return lock.try_hold(where + "/lock")
    except FileNotFoundError:
        raise NotFound(f"no container {os.path.basename(where)[:12]}: it was removed") from None
    except OSError as error:
        raise StorageError(f"cannot lock {where}/lock: {error.strerror}") from None


def is_locked(where: str) -> bool:
    """Tell whether somebody makes, runs or removes the container of that directory; it is not taken for the question.

    Raises StorageError.
    """
    try:
        return lock.is_held(where + "/lock")
    except OSError as error:
        raise StorageError(f"cannot look at {where}/lock: {error.strerror}") from None


def running_state(paths: Paths, identity: str) -> runtime_state.State | None:
    """Return the state of the container's process where that lives; None where it does not. Raises StorageError."""
    try:
        found = runtime_state.load(f"{paths.running}/{identity}")
    except NotFound:
        return None
    if not found.started or found.boot_id != process.boot_id() or process.start_time(found.pid) != found.started:
        return None
    return found


def is_abandoned(paths: Paths, identity: str) -> bool:
    """Tell whether its process lives and nobody supervises it: supervisor and guardian were killed at once.
    Raises StorageError.
    """
    if is_locked(directory(paths, identity)) or not os.path.isdir(f"{paths.running}/{identity}"):
        return False
    return running_state(paths, identity) is not None


def cared_for(paths: Paths, container: Container) -> Container:
    """Return the container. It gets a supervisor where it has been left without one, and its state back where that was deleted.
    Raises nothing for these.
    """
    state_directory = f"{paths.running}/{container.id}"
    try:
        if is_abandoned(paths, container.id):
            from cratebox.engine import adoption

            adoption.adopt(paths, container.id)
        elif not os.path.isdir(state_directory) and is_locked(directory(paths, container.id)):
            from cratebox.engine import lost

            lost.restore_state(directory(paths, container.id), state_directory)
    except StorageError:
        pass  # whoever needs it will say so
    return container


def status(paths: Paths, container: Container) -> ContainerStatus:
    """Return what is true of the container now. Raises StorageError."""
    where = directory(paths, container.id)
    known = os.path.isdir(f"{paths.running}/{container.id}")  # where it is not, nothing in it needs to be looked for
    running = running_state(paths, container.id) if known else None
    ended = record_file.read(where + "/exit.json", Exit)
    from cratebox.engine.specgen import command_of

    try:
        command = command_of(container.config, container.defaults)
    except InvalidValue:
        command = ()
    base = ContainerStatus(
        id=container.id,
        name=container.name,
        image=container.image,
        image_id=container.image_id,
        command=command,
        created=container.created,
        status="created",
        labels={**container.defaults.labels, **container.config.labels},
        network=container.config.network,
        networks=tuple(one.name for one in container.config.networks),
        ports=container.config.ports,
        exposed=(*container.defaults.exposed, *container.config.expose),
        mounts=container.config.mounts,
    )
    if running:
        return _running(base, running, f"{paths.running}/{container.id}")
    if ended and ended.started_at:
        return _ended(where, base, ended)
    if ended:
        return base.replace(exit_code=ended.code, error=ended.error)
    return _untold(where, base)


def _running(base: ContainerStatus, running: runtime_state.State, state_directory: str) -> ContainerStatus:
    from cratebox.engine import logs, watching

    told = watching.read(state_directory)
    frozen = bool(running.cgroup) and cgroups.from_paths(running.cgroup).is_frozen()
    found = base.replace(status="paused" if frozen else "running", pid=running.pid, started_at=running.started_at)
    found = found.replace(error=logs.read_trouble(state_directory + "/log-error"))
    if told is None:
        return found
    health = told.health.status if told.health else ""
    return found.replace(health=health, restart_count=told.restart_count, oom_killed=told.oom_killed)


def _ended(where: str, base: ContainerStatus, ended: Exit) -> ContainerStatus:
    """It has ended; its supervisor may be waiting to start it again."""
    waiting = ended.restarting and is_locked(where)
    return base.replace(
        status="restarting" if waiting else "exited",
        exit_code=ended.code,
        started_at=ended.started_at,
        finished_at=ended.finished_at,
        error=ended.error,
        oom_killed=ended.oom_killed,
        restart_count=ended.restart_count,
    )


def _untold(where: str, base: ContainerStatus) -> ContainerStatus:
    """A container that neither runs nor has told how it ended was never started, is about to start or to end, or its
    supervisor was killed: then nobody holds its lock.
    """
    try:
        begun = os.stat(where + "/config.json").st_mtime
    except OSError:
        return base
    if is_locked(where):
        return base.replace(status="running", started_at=begun)
    return base.replace(
        status="exited",
        exit_code=LOST,
        started_at=begun,
        finished_at=begun,
        error="its supervisor was killed, or the machine stopped",
    )
