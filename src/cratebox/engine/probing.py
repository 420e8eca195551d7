"""Health checks beside the runs of a container: when a probe is due, what its result changes, and what is done about it."""

from __future__ import annotations

import time

from cratebox.engine import events, health, stopped, stopping
from cratebox.engine.part import Part
from cratebox.engine.watching import UNHEALTHY, Health, Teller
from cratebox.errors import Conflict, CrateError
from cratebox.linux import fdpass

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.engine.config import HealthCheck
    from cratebox.engine.dialogue import Watch
    from cratebox.engine.exits import Exit
    from cratebox.engine.loop import Timer
    from cratebox.engine.records import Container
    from cratebox.engine.running import Run
    from cratebox.paths import Paths

_SECONDS_TO_STOP = 10
_SECONDS_TO_TRY_AGAIN = 1.0  # where a run that is to take the place of an unhealthy one could not even begin


class Probing(Part):
    """The health of a container: one probe at a time, and the next when the last one is judged."""

    def __init__(self, watch: Watch, teller: Teller, container: Container, check: HealthCheck) -> None:
        self._watch, self._teller, self._container, self._check = watch, teller, container, check
        self._health = Health()
        self._run: Run | None = None
        self._begun = 0.0  # of the run, in seconds of time.monotonic()
        self._probe: health.Running | None = None
        self._timer: Timer | None = None  # of the next probe, or for the end of the one that runs
        self._askers: list[_socket.socket] = []
        self._restart = False

    # With the runs

    def begun(self, run: Run) -> None:
        """It is starting, as far as anybody knows."""
        self._health = health.started(self._health)
        self._watch_run(run, time.monotonic())
        self._plan()

    def resumed(self, run: Run) -> None:
        """Its health is what the supervisor that was killed has told; a probe of that one's does not count."""
        self._teller.recall()
        self._health = self._teller.told.health or Health()
        health.end_left()
        self._watch_run(run, time.monotonic() - run.vigil.age)
        if self._teller.told.next_probe:
            self._timer = run.loop.after(max(0.0, self._teller.told.next_probe - time.monotonic()), self._begin)
        else:
            self._plan()

    @property
    def timers(self) -> tuple[Timer, ...]:
        """The one for the next probe. That of a probe which runs is nobody else's."""
        return (self._timer,) if self._timer and not self._probe else ()

    def recalled(self) -> None:
        """Where it is to be restarted when it is unhealthy, that was what the supervisor was about to do."""
        self._teller.recall()
        self._health = self._teller.told.health or Health()
        self._restart = self._container.config.health_on_failure == "restart"

    def _watch_run(self, run: Run, begun: float) -> None:
        self._run, self._begun, self._restart = run, begun, False

    def after(self, ended: Exit, took: float) -> float | None:  # noqa: ARG002
        """Run it again at once where it was ended for that."""
        wanted = self._restart and not stopped.is_marked(self._watch.directory, self._watch.state_directory)
        if not wanted:
            return None
        return 0.0 if took else _SECONDS_TO_TRY_AGAIN

    def known(self, ended: Exit) -> Exit:
        """Add that it is about to run again."""
        return ended.replace(restarting=ended.restarting or self.after(ended, 1.0) is not None)

    def ended(self, run: Run, ended: Exit) -> None:  # noqa: ARG002
        """Its processes are gone, and those of a probe with them."""
        run.loop.cancel(self._timer)
        if self._probe:
            self._unwatch()
            self._probe.drop()
            self._probe = None
        self._answer(1)
        self._run = None

    # Probe after probe

    def _plan(self) -> None:
        assert self._run
        now = time.monotonic()
        seconds = health.pause(self._health, self._check, now - self._begun)
        self._teller.tell(health=self._health, next_probe=0.0 if seconds is None else now + seconds)
        if seconds is not None:
            self._timer = self._run.loop.after(seconds, self._begin)

    def asked(self, sock: _socket.socket) -> bool:
        """Probe now, or wait for the result of the one that runs."""
        if not self._run:
            return False
        self._askers.append(sock)
        if not self._probe:
            self._run.loop.cancel(self._timer)
            self._begin()
        return True

    def _begin(self) -> None:
        assert self._run
        if self._run.cgroup and self._run.cgroup.is_frozen():
            self._answer(1)
            self._plan()  # a paused container answers nothing, and cannot be blamed for that
            return
        try:
            self._probe = health.Running(self._watch.container.paths, self._watch.container.id, self._check)
        except OSError:
            self._answer(1)
            self._plan()  # no process could be made: that is not the container's fault
            return
        loop = self._run.loop
        loop.watch(self._probe.pidfd, self._finish)
        loop.watch(self._probe.output, self._read)
        self._timer = loop.after(self._check.timeout / 1e9, self._finish)

    def _read(self) -> None:
        assert self._run
        assert self._probe
        if not self._probe.read():
            self._run.loop.unwatch(self._probe.output)

    def _finish(self) -> None:
        assert self._run
        assert self._probe
        self._run.loop.cancel(self._timer)
        self._unwatch()
        result = self._probe.finish()
        self._probe = None
        if result is None:
            self._answer(1)
            self._plan()
            return
        before = self._health.status
        self._health = health.judged(self._health, self._check, result, result.start - self._run.started_at)
        self._plan()  # which tells it
        self._answer(result.exit_code)
        if self._health.status != before:
            who = self._watch.container
            events.emit(who.paths, "container", f"health_status: {self._health.status}", who.id, who.attributes)
            if self._health.status == UNHEALTHY:
                self._act()

    def _unwatch(self) -> None:
        assert self._run
        assert self._probe
        self._run.loop.unwatch(self._probe.pidfd)
        self._run.loop.unwatch(self._probe.output)

    def _answer(self, code: int) -> None:
        for sock in self._askers:
            try:
                fdpass.send(sock, str(code).encode())
            except OSError:
                pass  # he did not wait
            sock.close()
        self._askers = []

    # What --health-on-failure says

    def _act(self) -> None:
        assert self._run
        action = self._container.config.health_on_failure
        if action == "none":
            return
        if action == "stop":
            try:
                stopped.mark(self._watch.directory)
            except CrateError:
                pass  # a full disk: its restart policy will start it again
        self._restart = action == "restart"
        run = self._run
        try:
            if action == "kill":
                run.vigil.signal(stopping.SIGKILL)
                return
            run.vigil.signal(stopping.stop_signal(self._container))
            seconds = self._container.config.stop_timeout
            run.loop.after(_SECONDS_TO_STOP if seconds is None else max(seconds, 0), lambda: _kill(run))
        except OSError:
            pass  # it has just ended


def _kill(run: Run) -> None:
    """Kill what has not ended by itself; a run that is over has no process any more."""
    if run.vigil.pidfd >= 0:
        run.vigil.signal(stopping.SIGKILL)


def ask(paths: Paths, container: Container) -> int:
    """Have its supervisor probe a container now; return the exit code. Raises Conflict where it has no health command, does not
    run, or its supervisor does not answer.
    """
    from cratebox.engine import healthcheck, records, states

    if healthcheck.of(container) is None:
        raise Conflict(f"{container.name} has no health command", "crate run --health-cmd COMMAND gives one to a container")
    status = records.status(paths, container)
    if status.status != "running":
        raise states.wrong(status)
    try:
        return _answer(f"{paths.running}/{container.id}")
    except OSError as error:
        raise Conflict(f"the supervisor of {container.name} does not answer: {error.strerror}", "try again") from None


def _answer(state_directory: str) -> int:
    from cratebox.engine import control, dialogue

    sock = control.connect(state_directory)
    try:
        fdpass.send(sock, dialogue.PROBE)
        told = fdpass.receive(sock)[0]
    finally:
        sock.close()
    if not told:
        raise ConnectionResetError
    return int(told)
