"""Removing containers."""

from __future__ import annotations

import os
import time

from cratebox.engine import events, leftovers, lost, records, stopping
from cratebox.engine.config import ContainerConfig
from cratebox.engine.mounts import anonymous_volumes
from cratebox.engine.records import Container
from cratebox.engine.vanishing import WITH_VOLUMES, Removal, vanish
from cratebox.errors import Conflict, NotFound, StorageError
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images


_SECONDS_OF_OTHERS = 10.0  # who start it, or remove it, at the same time


def remove(paths: Paths, images: Images, reference: str, force: bool, volumes: bool = False) -> None:
    """Delete a container and all that is its own; `force` kills it first. With `volumes`, and where it was made with --rm, its
    volumes without a name go too, save those that another container has. Raises Conflict where it runs, NotFound.
    """
    identity = records.find(paths, reference)
    try:
        container = records.load(paths, identity)
    except (StorageError, NotFound):
        if not force:
            raise
        container = Container(id=identity, name="", created=0.0, image="", image_id="", config=ContainerConfig(image=""))
    lock = _lock_for_removal(paths, container, force)
    if lock is None:
        return
    try:
        _remove_cgroup_left(paths, images, identity)
        gone = _volumes(paths, container, volumes)
        vanish(Removal(paths, images.identity, container.id, container.name, events.of_container(container), gone))()
    finally:
        os.close(lock)
    leftovers.sweep(paths, images)


def _lock_for_removal(paths: Paths, container: Container, force: bool) -> int | None:
    """Return the lock of a container that does not run, held; with `force` it is killed, as often as somebody starts it again.
    None where its supervisor was faster (--rm), or another `rm -f`.
    """
    where, deadline = records.directory(paths, container.id), time.monotonic() + _SECONDS_OF_OTHERS
    while True:
        if force:
            _kill_for_removal(paths, container)
        try:
            lock = records.try_lock(where)
        except NotFound:
            if force:
                return None
            raise
        except StorageError as error:
            raise StorageError(error.message, "its processes have ended, but nothing is removed") if force else error from None
        if lock is not None and (force or not records.running_state(paths, container.id)):
            return lock
        if lock is not None:
            os.close(lock)
        if not force or time.monotonic() > deadline:
            raise _in_use(paths, container)
        time.sleep(stopping.PAUSE)


def _volumes(paths: Paths, container: Container, wanted: bool) -> tuple[str, ...]:
    """Return the volumes that go with a container; what is killed in the midst of it is marked for whoever clears up."""
    gone = anonymous_volumes(container.config.mounts) if wanted or container.config.remove else ()
    mark = records.directory(paths, container.id) + WITH_VOLUMES
    try:
        if gone:
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        elif os.path.lexists(mark):
            os.unlink(mark)  # of a removal that went wrong
    except OSError:
        pass  # a full disk: then a crash leaves the volumes
    return gone


def _in_use(paths: Paths, container: Container) -> Conflict:
    name, now = container.name or container.id[:12], "running"
    try:
        now = records.status(paths, container).status
    except StorageError:
        pass
    now = now if now in records.ALIVE else "in use by another command"
    return Conflict(f"{name} is {now}", f"crate stop {name}, or crate rm -f {name}")


def _remove_cgroup_left(paths: Paths, images: Images, identity: str) -> None:
    """A supervisor that was killed has not told how the container ended, or not yet forgotten its process, which comes last:
    its cgroup may still be there.
    """
    where = records.directory(paths, identity)
    done = os.path.exists(where + "/exit.json") and not os.path.isdir(f"{paths.running}/{identity}")
    if os.path.exists(where + "/config.json") and not done:
        lost.remove_cgroup(where, identity, images.identity.rootless)


def _kill_for_removal(paths: Paths, container: Container) -> None:
    stopping.mark(paths, container)
    try:
        stopping.end(paths, container, stopping.SIGKILL, stopping.SECONDS_TO_DIE)
    except StorageError:  # the state of its process is damaged
        _kill_lost(paths, container)
        stopping.wait_for_supervisor(paths, container)
    except OSError as error:
        raise Conflict(f"cannot kill {container.name or container.id[:12]}: {error.strerror}") from None


def _kill_lost(paths: Paths, container: Container) -> None:
    pid = lost.first_process(records.directory(paths, container.id))
    if pid is None:
        return
    try:
        pidfd = os.pidfd_open(pid)
        try:
            stopping.kill_and_wait(paths, container, pidfd)
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        pass
