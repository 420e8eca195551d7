"""What a supervisor knows of its container beyond the process: restarts, memory that ran out, health.

It lies in STATE/containers/ID/watch.json, which the supervisor alone writes, and only when there is something to tell: a
container that is simply running has none. It counts as long as somebody holds the container's lock and the machine has not been
started again; what must outlive that is in exit.json (exits.py).
"""

from __future__ import annotations

from cratebox import record_file
from cratebox.errors import StorageError
from cratebox.linux import process
from cratebox.paths import private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUNNING, RESTARTING = "running", "restarting"
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


class Probe(Record):
    """One run of a health command; times in seconds since 1970. `output` is the beginning of what it wrote."""

    start: float
    end: float
    exit_code: int
    output: str = ""


class Health(Record):
    """What the health command has said: `status` is starting, healthy or unhealthy; `log` are the last probes, oldest first."""

    status: str = STARTING
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()


class Watching(Record):
    """`phase` is running or restarting: then `next_try` says when, in seconds since 1970. `restart_count` counts since the
    user started it, `delay` is how many seconds the last restart was waited for; `boot_id` is that of the machine's start in
    which this is true. `next_probe` is when the health command is run again, in seconds of time.monotonic().
    """

    boot_id: str
    phase: str = RUNNING
    restart_count: int = 0
    delay: float = 0.0
    next_try: float = 0.0
    oom_killed: bool = False
    health: Health | None = None
    next_probe: float = 0.0


def read(state_directory: str) -> Watching | None:
    """Return what the supervisor has told since the machine was started, None where that is nothing, or damaged.

    Whether the supervisor is still there is for the caller to ask: it holds the container's lock.
    """
    try:
        found = record_file.read(state_directory + "/watch.json", Watching)
    except StorageError:
        return None
    return found if found and found.boot_id == process.boot_id() else None


_tellers: dict[str, Teller] = {}


def teller(state_directory: str) -> Teller:
    """Return the one teller of a container: whatever part tells something must not take back what another has told."""
    return _tellers.setdefault(state_directory, Teller(state_directory))


class Teller:
    """The writer of a container's watch.json: the supervisor has one, its parts tell through it what they know."""

    def __init__(self, state_directory: str) -> None:
        self.told = Watching(boot_id=process.boot_id())
        self._directory = state_directory

    def recall(self) -> None:
        """Go on from what a supervisor that was killed has told."""
        self.told = read(self._directory) or self.told

    def tell(self, **known: Any) -> None:
        """Replace fields of what is told. Never raises: where it cannot be written (a full disk), it is told the next time."""
        self.told = self.told.replace(**known)
        try:
            private_directory(self._directory)  # it goes with the process of each run
            record_file.write(self._directory + "/watch.json", self.told)
        except (OSError, StorageError):
            pass
