"""`system start` and `system stop`: what a reboot ends, and what comes back after it.

There is no daemon that would notice a boot, so a command does what its restart policy says of each container that was ended by
the machine and by nobody else: those whose last run was in an earlier boot (told by the kernel's boot ID), and those whose end
nobody has written down.

    always           comes back, also where the user had stopped it before the boot (as with Docker)
    unless-stopped   comes back, save where the user had stopped it
    on-failure       comes back where it was running or had failed, it was not stopped and it has retries left
    no               stays as it is; with --rm it is removed
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.engine import records, restarts, stopped
from cratebox.engine.exits import Exit
from cratebox.errors import CrateError, NotFound
from cratebox.linux import process
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.engine.containers import Containers
    from cratebox.engine.records import Container
    from cratebox.paths import Paths


class Outcome(Record):
    """What was done to a container: `action` is started, stopped or removed; or what kept it from that."""

    name: str
    action: str
    error: CrateError | None = None


def start(containers: Containers) -> Iterator[Outcome]:
    """Start what is to come back after a boot, oldest first. Doing so again finds nothing to do."""
    for container in _known(containers):
        try:
            wanted = _wanted(containers.paths, container)
            if wanted == "started":
                containers.start(container.id)
            elif wanted == "removed":
                containers.remove(container.id)
        except NotFound:
            continue  # removed meanwhile
        except CrateError as error:
            yield Outcome(container.name, "", error)
        else:
            if wanted:
                yield Outcome(container.name, wanted)


def stop(containers: Containers, timeout: float | None = None) -> Iterator[Outcome]:
    """Stop all that runs, so that `start` brings back what it would have brought back after a crash."""
    from cratebox.engine import stopping

    for container in _known(containers):
        try:
            if not records.status(containers.paths, container).alive:
                continue
            stopping.stop(containers.paths, container, timeout, by_user=False)
        except NotFound:
            continue
        except CrateError as error:
            yield Outcome(container.name, "", error)
        else:
            yield Outcome(container.name, "stopped")


def _known(containers: Containers) -> list[Container]:
    found = []
    for identity in records.identities(containers.paths):
        try:
            found.append(records.cared_for(containers.paths, records.load(containers.paths, identity)))
        except CrateError:
            continue  # damaged: `ps` and `system check` tell
    return sorted(found, key=lambda one: one.created)


def _wanted(paths: Paths, container: Container) -> str:
    """Return what is to be done to a container: started, removed or nothing."""
    where = records.directory(paths, container.id)
    ended = record_file.read(where + "/exit.json", Exit)
    if not _was_ended_by_machine(paths, container, ended):
        return ""
    if container.config.remove:
        return "removed"
    policy = restarts.parse(container.config.restart)
    if policy.name == "always":
        return "started"
    if policy.name == "no" or stopped.is_marked_by_user(where):
        return ""
    if policy.name == "on-failure" and ended:
        return "started" if ended.code and (not policy.retries or ended.restart_count < policy.retries) else ""
    return "started"


def _was_ended_by_machine(paths: Paths, container: Container, ended: Exit | None) -> bool:
    """Tell whether its last run was in an earlier boot, or was ended by something that could not even be written down."""
    where = records.directory(paths, container.id)
    if not os.path.exists(where + "/config.json"):
        return False  # it never ran
    if records.is_locked(where) or records.running_state(paths, container.id):
        return False
    if ended and not ended.started_at:
        return False  # its only start has failed
    return ended is None or ended.restarting or ended.boot_id != process.boot_id()
