"""What goes along with the runs of a container where it has more than a process: its restart policy, a longest time, a limit of
memory that may be reached, its health. The supervisor of any other container does not load this.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import events, healthcheck, records, restarts, stopped
from cratebox.engine.part import Part
from cratebox.engine.watching import RESTARTING, RUNNING, Teller, teller
from cratebox.errors import CrateError, StorageError
from cratebox.paths import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.cgroup.oom import OOMWatch
    from cratebox.engine.dialogue import Watch
    from cratebox.engine.exits import Exit
    from cratebox.engine.loop import Loop, Timer
    from cratebox.engine.running import Run

_SIGKILL = 9


def of(watch: Watch) -> tuple[Part, ...]:
    """Return the parts of a container, as its record says now. Raises NotFound, StorageError."""
    container = records.load(watch.container.paths, watch.container.id)
    voice = teller(watch.state_directory)
    found: list[Part] = []
    if not watch.remove:
        found.append(Restarting(watch, voice))
    if container.config.timeout:
        found.append(TimeLimit(container.config.timeout))
    if container.config.limits and container.config.limits.memory:
        found.append(Memory(watch, voice))
    check = healthcheck.of(container)
    if check:
        from cratebox.engine.probing import Probing

        found.append(Probing(watch, voice, container, check))
    return tuple(found)


class Restarting(Part):
    """The restart policy. It is read anew at each end of a run: `update` may have changed it.

    While it waits, there is a FIFO `wake` beside watch.json: `stop` writes to it when it has made its mark.
    """

    def __init__(self, watch: Watch, teller: Teller) -> None:
        self._watch, self._teller = watch, teller
        self._restarts = restarts.Restarts()
        self._due = False
        self._wake = -1

    def begun(self, run: Run) -> None:  # noqa: ARG002
        """Say that it runs again; the state of a first run says so by itself."""
        if self._restarts.count or self._teller.told.next_try:
            self._teller.tell(phase=RUNNING, next_try=0.0, oom_killed=False)

    def resumed(self, run: Run) -> None:
        """Go on counting where the supervisor that was killed stopped."""
        self.recalled()
        if self._teller.told.next_try:
            self.begun(run)

    def recalled(self) -> None:
        """Go on counting."""
        self._teller.recall()
        self._restarts = restarts.Restarts(self._teller.told.restart_count, self._teller.told.delay)

    def followed(self, ended: Exit) -> None:
        """Go on counting; the restart that was about to be is decided once more."""
        self._restarts = restarts.Restarts(ended.restart_count - ended.restarting)

    def after(self, ended: Exit, took: float) -> float | None:
        """Return what the policy says, unless the user wanted the container stopped."""
        delay = self._restarts.after(
            self._policy(), ended.code, took, stopped.is_marked(self._watch.directory, self._watch.state_directory)
        )
        self._due = delay is not None
        return delay

    def _policy(self) -> restarts.RestartPolicy:
        try:
            container = records.load(self._watch.container.paths, self._watch.container.id)
            return restarts.parse(container.config.restart)
        except CrateError:
            return restarts.RestartPolicy()  # its record is damaged, or gone: it could not be started

    def known(self, ended: Exit) -> Exit:
        """Add whether it is about to be started again, and how often it was."""
        return ended.replace(restarting=self._due, restart_count=self._restarts.count)

    def resting(self, loop: Loop, seconds: float, wake: Callable[[], object]) -> None:
        """Tell how long it waits, and listen to whoever wants that to end."""
        try:
            self._wake = _fifo(private_directory(self._watch.state_directory) + "/wake")
            loop.watch(self._wake, wake)
        except (OSError, StorageError):
            pass  # a full disk: who stops it waits for the next try
        # Behind that: who reads it writes to the FIFO.
        now, known = self._restarts, {"phase": RESTARTING, "next_try": time.time() + seconds, "health": None}
        self._teller.tell(restart_count=now.count, delay=now.delay, **known)

    def rested(self, loop: Loop) -> bool:
        """Say that it waits no longer, and only then look whether it is to run: see `stopping.process_of`. That a try was due
        is said until it runs: who takes over goes on with it.
        """
        if self._wake >= 0:
            loop.unwatch(self._wake)
            os.close(self._wake)
            self._wake = -1
        self._teller.tell(phase=RUNNING)
        if not stopped.is_marked(self._watch.directory, self._watch.state_directory):
            return True
        self._due = False
        from cratebox.runtime import state

        try:
            state.forget(self._watch.state_directory)
        except CrateError:
            pass  # nobody holds the container's lock any more, so it is not believed
        return False


def _fifo(path: str) -> int:
    """Make a FIFO in the place of one that a supervisor which was killed has left, and open it."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


class TimeLimit(Part):
    """`--timeout`: the container is killed when a run has taken so long. Its restart policy sees a failure."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._timer: Timer | None = None

    def begun(self, run: Run) -> None:
        """Let the time begin, with the run, which a supervisor before this one may have begun."""
        left = max(0.0, self._seconds - run.vigil.age)
        self._timer = run.loop.after(left, lambda: run.vigil.signal(_SIGKILL))

    @property
    def timers(self) -> tuple[Timer, ...]:
        """The one for its end."""
        return (self._timer,) if self._timer else ()

    def ended(self, run: Run, ended: Exit) -> None:  # noqa: ARG002
        """Let it go."""
        run.loop.cancel(self._timer)


class Memory(Part):
    """Being told when the kernel kills a process of the container because its limit of memory is reached."""

    def __init__(self, watch: Watch, teller: Teller) -> None:
        self._watch, self._teller = watch, teller
        self._oom: OOMWatch | None = None
        self._killed = False

    def begun(self, run: Run) -> None:
        """Listen to the cgroup of this run."""
        self._killed = False
        self._listen(run)

    def resumed(self, run: Run) -> None:
        """Go on listening. The kernel has counted meanwhile, and its cgroup is this run's alone."""
        self._teller.recall()
        self._killed = self._teller.told.oom_killed
        self._listen(run)
        if self._oom and not self._killed and self._oom.killed():
            self._tell()

    @property
    def watched(self) -> dict[int, int]:
        """What the kernel tells it by."""
        return {self._oom.fd: self._oom.events} if self._oom else {}

    def _listen(self, run: Run) -> None:
        try:
            self._oom = run.cgroup.watch_oom() if run.cgroup else None
        except CrateError:
            self._oom = None  # nothing that counts is limited here
        if self._oom:
            run.loop.watch(self._oom.fd, self._look, self._oom.events)

    def _look(self) -> None:
        if self._oom and self._oom.seen():
            self._tell()

    def _tell(self) -> None:
        self._killed = True
        self._teller.tell(oom_killed=True)
        who = self._watch.container
        events.emit(who.paths, "container", "oom", who.id, who.attributes)

    def known(self, ended: Exit) -> Exit:
        """Add whether it happened in this run; the last word of the kernel may not have been heard yet."""
        if not self._killed:
            self._look()
        return ended.replace(oom_killed=self._killed)

    def ended(self, run: Run, ended: Exit) -> None:  # noqa: ARG002
        """Stop listening: the cgroup is gone."""
        if self._oom:
            run.loop.unwatch(self._oom.fd)
            self._oom.close()
            self._oom = None
