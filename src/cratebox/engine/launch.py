"""A start: everything is prepared here, in the client, where an error is just an error; then the supervisor is forked."""

from __future__ import annotations

import os

from cratebox.engine import attach, events, logs, records, root_parts, streams, supervisor
from cratebox.engine.dialogue import Watch
from cratebox.engine.mounts import anonymous_volumes
from cratebox.engine.preparation import Prepared, Start, give_back, prepare
from cratebox.engine.vanishing import Removal, vanish
from cratebox.errors import Conflict, OverlayRefused, RuntimeFailure
from cratebox.linux import fdpass, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any


def start(wanted: Start) -> int | None:
    """Start a container. Attached: stay with it and return its exit code, None where the user detached; otherwise return
    None when its program runs. Raises what kept it from starting.

    The lock is taken over, whatever happens. Where the kernel refuses an overlay it is tried again with a copy.
    """
    try:
        return _launch(*_prepared(wanted))
    except OverlayRefused as error:
        root_parts.remember_no_overlay(wanted.paths, error, wanted.progress)
    lock_again = records.try_lock(records.directory(wanted.paths, wanted.container.id))
    if lock_again is None:
        raise Conflict(f"{wanted.container.name} was started by somebody else meanwhile")
    return _launch(*_prepared(wanted.replace(lock=lock_again)))


def _prepared(start: Start) -> tuple[Start, Prepared]:
    """Make ready all that the start needs and can fail on; where it does, the lock is free again and --rm is kept."""
    container, ready = start.container, False
    try:
        start = start.replace(layers=start.images.layer_directories(container))
        if root_parts.needs_copy(start.paths, start.identity, container):
            root_parts.copy_layers(start.images, records.directory(start.paths, container.id), start.layers, container)
        prepared = prepare(start)
        ready = True
    finally:
        if not ready:
            if container.config.remove:
                vanish(_removal(start))()
            os.close(start.lock)
    return start, prepared


def _removal(start: Start) -> Removal:
    container = start.container
    gone = anonymous_volumes(container.config.mounts) if container.config.remove else ()
    return Removal(start.paths, start.identity, container.id, container.name, events.of_container(container), gone)


def _launch(start: Start, prepared: Prepared) -> int | None:
    """Hand over to a supervisor, which starts the container and has its lock from here on; stay, or leave when it runs."""
    if start.attach:
        events.emit(start.paths, "container", "attach", start.container.id, events.of_container(start.container))
    there = prepared.streams
    before = attach.block_signals()
    try:
        ours = _fork_supervisor(watch_of(start, prepared))
    except OSError as error:
        attach.restore_signals(before)
        raise _not_forked(start, error) from None
    finally:
        os.close(start.lock)
        wish = prepared.wish
        streams.close(*wish.stdio, *there.output, *there.holds, *wish.held, *wish.trees.values(), *prepared.ports)
    try:
        if start.attach:
            return attach.stay(_attachment(start, prepared, ours, before))
        attach.restore_signals(before)
        streams.close(there.stdin)
        attach.wait_started(ours)
        return None
    finally:
        ours.close()


def _fork_supervisor(watch: Watch) -> _socket.socket:
    """Fork a supervisor; return the client's end of their dialogue. Raises OSError."""
    _reap_earlier()
    ours, theirs = fdpass.pair()
    try:
        _supervisors.append(supervisor.fork(watch, theirs, ours))
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


_supervisors: list[int] = []  # of this process, not reaped yet: they have something to delete when all has been said


def _reap_earlier() -> None:
    """A command ends and leaves its supervisor to init; a program that uses the library goes on, and must not keep zombies."""
    for pid in _supervisors[:]:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _supervisors.remove(pid)
        except ChildProcessError:
            _supervisors.remove(pid)


def watch_of(start: Start, prepared: Prepared) -> Watch:
    """Return what the supervisor of that start is told."""
    config = start.container.config
    return Watch(
        container=_removal(start),
        directory=records.directory(start.paths, start.container.id),
        state_directory=f"{start.paths.running}/{start.container.id}",
        wish=prepared.wish,
        volumes=prepared.volumes,
        remove=config.remove,
        lock=start.lock,
        stdin=-1 if start.attach else prepared.streams.stdin,
        output=prepared.streams.output,
        holds=prepared.streams.holds,
        attached=start.attach,
        network=prepared.network,
        ports=prepared.ports,
        log=logs.wish_of(start.container),
        accompanied=_is_accompanied(start.container),
        pidfile=config.pidfile,
        record=(0, 0) if config.remove else records.version(records.directory(start.paths, start.container.id)),
    )


def _is_accompanied(container: records.Container) -> bool:
    """Tell whether a supervisor has more to do for it than to keep its output and its exit code: then it loads parts.py."""
    config = container.config
    limited = config.limits is not None and bool(config.limits.memory)
    return config.restart != "no" or bool(config.timeout or config.health or container.defaults.healthcheck) or limited


def _not_forked(start: Start, error: OSError) -> RuntimeFailure:
    """Keep --rm where there is no supervisor to do it; return what to say. The container's lock is still held."""
    give_back(start)
    if start.container.config.remove:
        vanish(_removal(start))()
    return RuntimeFailure(f"cannot fork: {error.strerror}", "the user's limit of processes, or memory, is used up")


def _attachment(start: Start, prepared: Prepared, sock: _socket.socket, mask: Any) -> attach.Attachment:
    return attach.Attachment(
        sock=sock,
        stdin=prepared.streams.stdin,
        tty=start.container.config.tty,
        interactive=start.interactive,
        forward_signals=start.forward_signals and process.is_main_thread(),
        mask=mask,
        detach_keys=attach.DETACH_KEYS if start.detach_keys is None else start.detach_keys,
    )
