"""What to say to whom a container's state is in the way: what it is, what it would have to be, and the command that helps."""

from __future__ import annotations

from cratebox.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.records import ContainerStatus


def wrong(status: ContainerStatus, wanted: str = "running") -> Conflict:
    """Return the error of a container that is not `wanted` (running, paused, stopped): "web is paused, not running"."""
    name = status.name or status.id[:12]
    if status.status == wanted:  # it was otherwise a moment ago
        return Conflict(f"{name} has changed its state meanwhile", "try again")
    return Conflict(f"{name} is {status.status}, not {wanted}", _way_out(status.status, wanted, name))


def _way_out(now: str, wanted: str, name: str) -> str | None:
    if now in {"created", "exited"}:
        return f"crate start {name}" if wanted == "running" else None
    if now == "paused" and wanted == "running":
        return f"crate unpause {name}"
    if now == "running" and wanted == "paused":
        return f"crate pause {name}"
    if now == "restarting" and wanted == "running":
        return f"it ends again and again: crate logs {name} may tell why, crate stop {name} ends that"
    return f"crate rm -f {name}" if now == "dead" else f"crate stop {name}"
