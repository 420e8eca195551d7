"""State: what is true of a container now, in the words of `docker inspect`."""

from __future__ import annotations

from cratebox.engine.records import ContainerStatus
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


def rfc3339(seconds: float | None) -> str:
    """Return a time (seconds since 1970) as Docker writes it, in UTC; None and 0 are Go's zero time."""
    if not seconds:
        return _NEVER
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def state_of(paths: Paths, status: ContainerStatus) -> dict[str, Any]:
    """Return the section. A container that is paused or waits to be started again is Running as well, as with Docker."""
    state = {
        "Status": status.status,
        "Running": status.alive,
        "Paused": status.status == "paused",
        "Restarting": status.status == "restarting",
        "OOMKilled": status.oom_killed,
        "Dead": status.status == "dead",
        "Pid": status.pid,
        "ExitCode": status.exit_code or 0,
        "Error": status.error,
        "StartedAt": rfc3339(status.started_at),
        "FinishedAt": rfc3339(status.finished_at),
    }
    health = _health(paths, status)
    return state | {"Health": health} if health else state


def _health(paths: Paths, status: ContainerStatus) -> dict[str, Any] | None:
    """What the health command has said; a container without one has no such section."""
    if not status.health:
        return None
    from cratebox.engine import watching

    told = watching.read(f"{paths.running}/{status.id}")
    if told is None or told.health is None:
        return {"Status": status.health, "FailingStreak": 0, "Log": []}
    return {
        "Status": told.health.status,
        "FailingStreak": told.health.failing_streak,
        "Log": [
            {"Start": rfc3339(one.start), "End": rfc3339(one.end), "ExitCode": one.exit_code, "Output": one.output}
            for one in told.health.log
        ],
    }
