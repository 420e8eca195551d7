"""What to say to whom a container is in the way: one that is not there, one of many, one whose state forbids what is asked.

Each says what is so, and the command that helps.
"""

from __future__ import annotations

import os

from cratebox.engine.words import shown
from cratebox.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratebox.engine.records import ContainerStatus
    from cratebox.paths import Paths

_FEW = 3


def unknown(paths: Paths, reference: str) -> NotFound:
    """Return the error of a name, or of a beginning of an ID, that no container has; with the names that are like it."""
    from cratebox.engine.config import nearest
    from cratebox.engine.name_links import holder_of, names

    alive = [name for name in names(paths) if os.path.isdir(f"{paths.containers}/{holder_of(paths, name)}")]
    near = nearest(reference, alive)
    return NotFound(f"no container {shown(reference)}", f"{near + ' ' if near else ''}crate ps -a lists them")


def ambiguous(paths: Paths, reference: str, found: Sequence[str]) -> Conflict:
    """Return the error of a beginning that several IDs have."""
    from cratebox.engine.name_links import name_of

    some = [f"{identity[:12]} ({name_of(paths, identity)})" for identity in found[:_FEW]]
    more = " ..." if len(found) > _FEW else ""
    return Conflict(
        f"container {reference}: {len(found)} containers have an ID that begins so", f"give more of it: {', '.join(some)}{more}"
    )


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
    if now == "paused" and wanted == "stopped":
        return f"crate unpause {name} lets it go on, crate stop {name} ends it"
    if now == "running" and wanted == "paused":
        return f"crate pause {name}"
    if now == "restarting" and wanted == "running":
        return f"it ends again and again: crate logs {name} may tell why, crate stop {name} ends that"
    return f"crate rm -f {name}" if now == "dead" else f"crate stop {name}"
