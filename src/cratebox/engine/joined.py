"""Namespaces of other containers that one is to be in (--pid container:NAME and its like), opened and held.

A number of a process could be another's by the time that it is used. So the process is checked once its namespaces are open:
what is handed on are descriptors, and the spec names them as /proc/self/fd/N of the process that creates the container.
"""

from __future__ import annotations

import os

from cratebox.engine import records
from cratebox.engine.config import ContainerConfig, is_on_networks
from cratebox.engine.made_mounts import shared_memory
from cratebox.engine.namespace_words import flag
from cratebox.engine.spec_mounts import SHM
from cratebox.errors import Conflict, InvalidValue, NotFound
from cratebox.linux import process
from cratebox.paths import Paths
from cratebox.record import Record
from cratebox.runtime.joining import KINDS
from cratebox.runtime.spec import Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.state import State


class Joined(Record):
    """`fds` and `trees` (mounts, by destination) are open until the container is created. `hostname`: that of the container
    whose UTS or network namespace is shared, or empty. `files`: the directory of the one whose network is.
    """

    namespaces: tuple[Namespace, ...] = ()
    fds: tuple[int, ...] = ()
    trees: dict[str, int] = {}  # noqa: RUF012  never changed
    hostname: str = ""
    files: str = ""

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (*self.fds, *self.trees.values()):
            os.close(fd)


def others(config: ContainerConfig) -> dict[str, str]:
    """Return the containers, by ID or name, whose namespace of a kind is wanted."""
    names = ("pid", "ipc", "uts", "cgroup", "user")
    wanted = {"network": config.network, **{kind: getattr(config.namespaces, kind) for kind in names}}
    return {kind: word.partition(":")[2] for kind, word in wanted.items() if word.startswith("container:")}


def resolved(paths: Paths, config: ContainerConfig) -> ContainerConfig:
    """Return the config with full IDs: a name may be somebody else's later. Raises NotFound, Conflict."""
    found = {kind: "container:" + records.find(paths, name) for kind, name in others(config).items()}
    for identity in {one.partition(":")[2] for kind, one in found.items() if kind == "ipc"}:
        _check_shareable(records.load(paths, identity))
    network = found.pop("network", "")
    if network:
        config = config.replace(network=_network(paths, network))
    return config.replace(namespaces=config.namespaces.replace(**found)) if found else config


def _network(paths: Paths, mode: str) -> str:
    """Return whose network it is that the other container has: it may have this machine's, or that of a third one."""
    other = records.load(paths, mode.partition(":")[2])
    return mode if is_on_networks(other.config) or other.config.network == "none" else other.config.network


def _check_shareable(container: records.Container) -> None:
    if container.config.namespaces.ipc in {"private", "none"}:
        raise Conflict(
            f"--ipc: {container.name} was made with --ipc {container.config.namespaces.ipc}: nobody is to join it",
            "make it with --ipc shareable",
        )


def open_others(paths: Paths, config: ContainerConfig, rootless: bool) -> Joined:
    """Open the namespaces that the container is to join. Raises NotFound, Conflict where their container does not run."""
    wanted = others(config)
    fds: dict[str, int] = {}
    trees: dict[str, int] = {}
    hostname = files = ""
    try:
        for kind, identity in wanted.items():
            other = _partner(paths, kind, identity)
            state = _running(paths, kind, other)
            fds[kind] = _open(kind, other, state)
            if kind == "network":
                files = records.directory(paths, identity)
            if kind in {"network", "uts"} and (kind == "uts" or not hostname):
                hostname = other.config.hostname or other.id[:12]
            if kind == "ipc" and other.config.namespaces.ipc != "host":
                trees[SHM] = shared_memory(state, other.name)
            if rootless or "user" in fds:
                # Rights over the others' namespaces come with their user namespace alone.
                _keep_user(fds, _open("user", other, state))
    except BaseException:
        Joined((), tuple(fds.values()), trees).close()
        raise
    found = tuple(Namespace(kind, f"/proc/self/fd/{fd}") for kind, fd in fds.items())
    return Joined(found, tuple(fds.values()), trees, hostname, files)


def _partner(paths: Paths, kind: str, identity: str) -> records.Container:
    try:
        return records.load(paths, identity)
    except NotFound:
        raise NotFound(
            f"{flag(kind)}: the container whose {kind} namespace it is to share, {identity[:12]}, was removed",
            f"another one has another namespace: crate rm this one, and make it anew with {flag(kind)} container:NAME",
        ) from None


def _running(paths: Paths, kind: str, other: records.Container) -> State:
    state = records.running_state(paths, other.id)
    if state is None:
        raise Conflict(f"{flag(kind)} container:{other.name}: {other.name} is not running", f"crate start {other.name}")
    return state


def _open(kind: str, other: records.Container, state: State) -> int:
    try:
        fd = os.open(f"/proc/{state.pid}/ns/{KINDS[kind][1]}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Conflict(f"{flag(kind)}: cannot join {other.name}: {(error.strerror or '').lower()}") from None
    if process.start_time(state.pid) != state.started:
        os.close(fd)
        raise Conflict(f"{flag(kind)}: {other.name} has just ended", f"crate start {other.name}")
    return fd


def _keep_user(fds: dict[str, int], fd: int) -> None:
    before = fds.setdefault("user", fd)
    if before == fd:
        return
    same = os.path.samestat(os.fstat(before), os.fstat(fd))
    os.close(fd)
    if not same:
        raise InvalidValue("containers of different user namespaces cannot be joined at once", "join one of them, or be root")
