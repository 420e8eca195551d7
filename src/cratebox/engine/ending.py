"""How a container ends: signals, stopping, removing; and the garbage that a killed command leaves."""

from __future__ import annotations

import os
import time

from cratebox.engine import events, name_links, records
from cratebox.engine.config import ContainerConfig
from cratebox.engine.records import Container
from cratebox.engine.vanishing import Removal, delete_tree, vanish
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, RuntimeFailure, StorageError
from cratebox.linux import process
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images

_SIGKILL, _SIGTERM = 9, 15
_SECONDS_TO_STOP = 10.0
_SECONDS_TO_DIE = 10.0
_SECONDS_TO_LOCK = 5.0  # a directory is made a moment before its lock is taken
_PAUSE = 0.005


def kill(paths: Paths, container: Container, signal: int) -> None:
    """Send a signal to the container's process. Raises Conflict where it does not run."""
    pidfd = _pidfd(paths, container)
    if pidfd < 0:
        status = records.status(paths, container).status
        raise Conflict(f"{container.name} is {status}, not running", f"crate start {container.name}")
    try:
        process.send_signal(pidfd, signal)
        _tell(paths, container, "kill", signal=str(signal))
    except ProcessLookupError:
        raise Conflict(f"{container.name} is not running") from None
    except PermissionError as error:
        raise Conflict(f"cannot signal {container.name}: {error.strerror}") from None
    finally:
        os.close(pidfd)


def _tell(paths: Paths, container: Container, action: str, **more: str) -> None:
    events.emit(paths, "container", action, container.id, {**events.of_container(container), **more})


def _pidfd(paths: Paths, container: Container) -> int:
    """Return a pidfd of the container's process, or -1 where it has none. One that is just starting is waited for."""
    end = time.monotonic() + _SECONDS_TO_DIE
    while True:
        state = records.running_state(paths, container.id)
        if state is not None:
            try:
                return process.open_pidfd(state.pid, state.started)
            except ProcessLookupError:
                return -1
        if not records.is_locked(records.directory(paths, container.id)) or time.monotonic() > end:
            return -1
        time.sleep(_PAUSE)


def stop(paths: Paths, container: Container, timeout: float | None) -> None:
    """Send the stop signal, wait, then SIGKILL; return when the container has ended and its supervisor is done.

    `timeout` is in seconds, None for the container's own or 10, negative for ever. A stopped container is left alone.
    Raises Conflict, RuntimeFailure where it does not even die of SIGKILL.
    """
    pidfd = _pidfd(paths, container)
    if pidfd < 0:
        return
    if timeout is None:
        timeout = _SECONDS_TO_STOP if container.config.stop_timeout is None else container.config.stop_timeout
    try:
        signal = _stop_signal(container)
        process.send_signal(pidfd, signal)
        _tell(paths, container, "kill", signal=str(signal))
        if not _ended(pidfd, timeout):
            _kill_and_wait(paths, pidfd, container)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
    _wait_for_supervisor(paths, container)
    _tell(paths, container, "stop")


def _stop_signal(container: Container) -> int:
    from cratebox.engine.signals import parse

    try:
        return parse(container.config.stop_signal or container.defaults.stop_signal or "TERM")
    except InvalidValue:
        return _SIGTERM  # the image's own word, which nobody has checked


def _kill_and_wait(paths: Paths, pidfd: int, container: Container) -> None:
    process.send_signal(pidfd, _SIGKILL)
    _tell(paths, container, "kill", signal=str(_SIGKILL))
    if not _ended(pidfd, _SECONDS_TO_DIE):
        raise RuntimeFailure(
            f"{container.name or container.id[:12]} does not die of SIGKILL",
            "one of its processes may wait for a disk or a network file system: ps shows it in state D",
        )


def _ended(pidfd: int, timeout: float) -> bool:
    """Wait until the process of `pidfd` has ended, at most `timeout` seconds (negative: for ever)."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout < 0 else timeout * 1000))


def _wait_for_supervisor(paths: Paths, container: Container) -> None:
    end = time.monotonic() + _SECONDS_TO_DIE
    while records.is_locked(records.directory(paths, container.id)):
        if time.monotonic() > end:
            raise Conflict(
                f"{container.name} has ended, but its supervisor is still busy", "its output may be held up somewhere"
            )
        time.sleep(_PAUSE)


def remove(paths: Paths, images: Images, reference: str, force: bool) -> None:
    """Delete a container and all that is its own; `force` kills it first. Raises Conflict where it runs, NotFound."""
    identity = records.find(paths, reference)
    try:
        container = records.load(paths, identity)
    except (StorageError, NotFound):
        if not force:
            raise
        container = Container(id=identity, name="", created=0.0, image="", image_id="", config=ContainerConfig(image=""))
    if force:
        _kill_for_removal(paths, container)
    try:
        lock = records.try_lock(records.directory(paths, identity))
    except NotFound:
        if force:
            return  # its supervisor was faster (--rm)
        raise
    if lock is None or (not force and records.running_state(paths, identity)):
        if lock is not None:
            os.close(lock)
        name = container.name or identity[:12]
        raise Conflict(f"{name} is running", f"crate stop {name}, or crate rm -f {name}")
    try:
        _remove_cgroup_left(images, identity, records.directory(paths, identity))
        vanish(Removal(paths, images.identity, container.id, container.name, events.of_container(container)))()
    finally:
        os.close(lock)
    sweep(paths, images)


def _remove_cgroup_left(images: Images, identity: str, where: str) -> None:
    """A supervisor that was killed has not told how the container ended, and its cgroup is still there."""
    from cratebox.engine import lost

    if os.path.exists(where + "/config.json") and not os.path.exists(where + "/exit.json"):
        lost.remove_cgroup(identity, images.identity.rootless)


def _kill_for_removal(paths: Paths, container: Container) -> None:
    try:
        pidfd = _pidfd_of_any(paths, container.id)
        try:
            _kill_and_wait(paths, pidfd, container)
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        pass
    except OSError as error:
        raise Conflict(f"cannot kill {container.name or container.id[:12]}: {error.strerror}") from None
    try:
        _wait_for_supervisor(paths, container)
    except NotFound:
        pass  # its supervisor removed it (--rm)


def _pidfd_of_any(paths: Paths, identity: str) -> int:
    """Return a pidfd of a container's process, also where its state is damaged. Raises ProcessLookupError, OSError."""
    try:
        state = records.running_state(paths, identity)
    except StorageError:
        from cratebox.engine import lost

        return os.pidfd_open(lost.first_process(records.directory(paths, identity)) or 0x7FFFFFFF)
    if state is None:
        raise ProcessLookupError
    return process.open_pidfd(state.pid, state.started)


def sweep(paths: Paths, images: Images) -> None:
    """Delete what commands that were killed have left: directories half made or half removed, whose lock nobody has."""
    from cratebox.engine import lost

    for name in os.listdir(paths.containers):
        kind, _, identity = name.partition("-")
        path = f"{paths.containers}/{name}"
        if kind not in {".new", ".removing"}:
            continue
        try:
            if records.is_locked(path) or time.time() - os.lstat(path).st_mtime < _SECONDS_TO_LOCK:
                continue
            lost.remove_cgroup(identity, images.identity.rootless)
            held = name_links.name_of(paths, identity)
            if held:
                name_links.release(paths, held, identity)
            delete_tree(images.identity, path)
        except (CrateError, OSError):
            continue  # it was not what the user asked for; the next one tries again
