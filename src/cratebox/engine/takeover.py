"""A supervisor in place of one that was killed: `_entry.py crate-supervisor ...`, executed by its guardian; or of one that has
slept (sleeping.py). succession.py tells the words.

It finds the container's lock held, the pipes of its output open, the rest in custody, and on the disk what was going on:

    the container's directory is gone (--rm)   its files are deleted
    state.json, and no exit.json of that run   it runs, or has ended and nobody has written down how: go on with it
    exit.json                                  the run is over: clean up, and go on with what follows it
    neither                                    it was about to start: that has failed
"""

from __future__ import annotations

import _socket
import os
import time

from cratebox import record_file
from cratebox.engine import events, exits, guardian, idmaps, logs, lost, records, streams, succession, supervisor, watching
from cratebox.engine.client import Client
from cratebox.engine.config import is_on_networks
from cratebox.engine.dialogue import Watch
from cratebox.engine.life import Life
from cratebox.engine.mounts import anonymous_volumes
from cratebox.engine.vanishing import Removal, delete_tree
from cratebox.errors import NotFound, RuntimeFailure, StorageError
from cratebox.linux import process
from cratebox.paths import private_directory
from cratebox.runtime import state as runtime_state
from cratebox.runtime.spec import Spec
from cratebox.runtime.wish import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.custody import Custody
    from cratebox.engine.guardian import Ward
    from cratebox.engine.sleeping import Sleep
    from cratebox.engine.volume_filling import Starting
    from cratebox.network.model import Reservation
    from cratebox.paths import Paths

_SIGKILL = 9


def main(words: list[str]) -> int:
    """Go on with the container that the words of the guardian name, until there is nothing more to do."""
    try:
        ward, held, woken = succession.read(words)
    except ValueError:
        return 125  # of a crate that is not this one; the container's lock is free now: see adoption.py
    process.close_from(3, (*held.descriptors, *ward.descriptors, *(woken.descriptors if woken else ())))
    process.close_on_exec_from(3)
    if not woken or not guardian.is_one(os.getppid()):
        guardian.settle(guardian.divide(ward, held))  # where that cannot be, the container's process stays a child of this one
    process.set_name("crate-supervisor")
    supervisor.restore_signals()
    if not os.path.isdir(records.directory(ward.paths, ward.id)):
        _finish_removal(ward)
        return 0
    return _go_on(ward, held, woken)


def _finish_removal(ward: Ward) -> None:
    """The container has vanished (--rm); what its supervisor was about to delete is still there."""
    gone = f"{ward.paths.containers}/.removing-{ward.id}"
    owner = idmaps.own()
    lost.remove_cgroup(gone, ward.id, owner.rootless)
    from cratebox.engine import leftovers

    leftovers.remove_volumes(ward.paths, owner, gone)
    delete_tree(owner, gone)


def _go_on(ward: Ward, held: Custody, woken: Sleep | None) -> int:
    fds = held.take()
    console, pidfd = fds.pop("console", -1), fds.pop("pidfd", -1)
    if woken and woken.console >= 0:
        streams.close(console)
        console = woken.console
    ports = tuple(fds.pop(name) for name in [*fds] if name.startswith("port."))
    life = Life(_watch(ward).replace(ports=ports), held, _clients(fds), woken)
    where = life.watch.directory
    ended, state = record_file.read(where + "/exit.json", exits.Exit), _state(life.watch, woken)
    if state and not (ended and ended.started_at == state.started_at):
        return supervisor.keep(life, lambda: life.resume(state, console, pidfd))
    if ended:
        if life.watch.network:
            from cratebox.engine import connections

            connections.release(ward.paths, life.watch.container.owner.rootless, ward.id, remember=not life.watch.remove)
        lost.remove_cgroup(where, ward.id, life.watch.container.owner.rootless)
        runtime_state.forget(life.watch.state_directory)
        return supervisor.keep(life, lambda: life.follow(ended))
    return supervisor.keep(life, lambda: _was_starting(life))


def _watch(ward: Ward) -> Watch:
    container = records.load(ward.paths, ward.id)
    where = records.directory(ward.paths, ward.id)
    spec = record_file.read(where + "/config.json", Spec)
    gone = anonymous_volumes(container.config.mounts) if container.config.remove else ()
    return Watch(
        container=Removal(ward.paths, idmaps.own(), container.id, container.name, events.of_container(container), gone),
        directory=where,
        state_directory=f"{ward.paths.running}/{container.id}",
        wish=Wish(spec or Spec("1.0.0"), where, (-1, -1, -1)),
        volumes=_volumes(container),
        remove=container.config.remove,
        lock=ward.lock,
        stdin=ward.stdin,
        output=ward.output,
        holds=ward.holds,
        attached=False,
        network=_network(ward.paths, container),
        log=logs.wish_of(container),
        accompanied=True,
        record=records.version(where),
    )


def _network(paths: Paths, container: records.Container) -> Reservation | None:
    """Return what the container has of networks, which is to be given back when it has ended."""
    if not is_on_networks(container.config):
        return None
    from cratebox.engine import connections

    return connections.known(paths, idmaps.own().rootless, container)


def _volumes(container: records.Container) -> tuple[Starting, ...]:
    """Return the volumes that its run has, as far as it matters to tell that it has ended."""
    if not any(one.kind == "volume" for one in container.config.mounts):
        return ()
    from cratebox.engine.volume_filling import Starting

    return tuple(
        Starting(name=one.source, container=container.id, image="", target=one.target, place="", data="")
        for one in container.config.mounts
        if one.kind == "volume"
    )


def _clients(fds: dict[str, int]) -> list[Client]:
    """Return those who were attached or waited: of each there is N.socket or N.waiting, and N.stdout, N.stderr."""
    found: dict[str, dict[str, int]] = {}
    for name, fd in fds.items():
        number, _, what = name.partition(".")
        found.setdefault(number, {})[what] = fd
    clients = []
    for one in found.values():
        attached = "socket" in one
        sock = _socket.socket(fileno=one.pop("socket" if attached else "waiting"))
        clients.append(Client(sock, one, attached))
    return clients


def _state(watch: Watch, woken: Sleep | None) -> runtime_state.State | None:
    """Return the state of the run that was going on, None where there was none (yet)."""
    state: runtime_state.State | None
    try:
        state = runtime_state.load(watch.state_directory)
    except NotFound:
        state = runtime_state.restore(private_directory(watch.state_directory), woken.state) if woken else None
    except StorageError:
        return None
    return state if state and state.pid and state.boot_id == process.boot_id() else None


def _was_starting(life: Life) -> None:
    """End what was being made: the first process and the cgroup.
    A start has failed with that; one by the restart policy is tried again.
    """
    told = watching.read(life.watch.state_directory)
    life.recall()
    end_what_was_made()
    lost.remove_cgroup(life.watch.directory, life.watch.container.id, life.watch.container.owner.rootless)
    runtime_state.forget(life.watch.state_directory)
    error = RuntimeFailure("the container's supervisor was killed while it started")
    if not told or not told.next_try:
        raise error
    try:
        begun = os.stat(life.watch.directory + "/config.json").st_mtime
    except OSError:
        begun = time.time()
    life.retry(error, begun)


def end_what_was_made() -> None:
    """End the process that was about to be the container's first: a child of this one, or of its guardian by now.

    Where there is no guardian, one's parent is whoever adopts orphans: init, whose children are all that runs on the machine.
    """
    for parent in (os.getpid(), os.getppid()):
        try:
            if parent != os.getpid() and not guardian.is_one(parent):
                continue
            for pid in process.children(parent):
                if pid != os.getpid():
                    os.kill(pid, _SIGKILL)
        except OSError:
            continue  # it has just ended
