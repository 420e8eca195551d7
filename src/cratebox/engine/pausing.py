"""`pause` and `unpause`: the kernel's freezer holds every process of the container (cgroups(7)); nothing is written down."""

from __future__ import annotations

from cratebox.engine import events, records, states
from cratebox.engine.records import Container
from cratebox.errors import Conflict, NotFound, Unsupported
from cratebox.paths import Paths
from cratebox.runtime import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def pause(paths: Paths, container: Container) -> None:
    """Stop every process of a running container where it stands. Raises Conflict where it is not running, Unsupported where
    the container has no cgroup of its own.
    """
    if records.status(paths, container).status == "paused":
        raise Conflict(f"{container.name} is paused already", f"crate unpause {container.name}")
    _through_cgroup(paths, container, control.pause, "running")
    events.emit(paths, "container", "pause", container.id, events.of_container(container))


def unpause(paths: Paths, container: Container) -> None:
    """Let the processes of a paused container go on. Raises as `pause`."""
    _through_cgroup(paths, container, control.resume, "paused")
    events.emit(paths, "container", "unpause", container.id, events.of_container(container))


def _through_cgroup(paths: Paths, container: Container, act: Callable[[str, str], None], wanted: str) -> None:
    status = records.status(paths, container)
    if status.status != wanted:
        raise states.wrong(status, wanted)
    try:
        act(paths.running, container.id)
    except (Conflict, NotFound):  # it changed in between, and the runtime knows it by its ID alone
        raise states.wrong(records.status(paths, container), wanted) from None
    except Unsupported as error:
        hint = (
            error.hint
            or "without root that takes a machine with cgroup v2, and a start below systemd-run --user --scope -p Delegate=yes"
        )
        raise Unsupported(f"{container.name}: {error.message}", hint) from None
