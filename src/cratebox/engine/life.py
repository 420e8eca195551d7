"""The life of a container under its supervisor: run after run, until its restart policy says that there is no next one."""

from __future__ import annotations

import time

from cratebox.engine import dialogue, events, exits
from cratebox.engine.loop import Loop
from cratebox.engine.running import Run
from cratebox.engine.vanishing import vanish
from cratebox.errors import CrateError
from cratebox.linux import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.client import Client
    from cratebox.engine.dialogue import Watch


class Part:
    """What goes along with the runs of a container: a restart policy, health checks, a time limit.

    A part waits in `run.loop`, with descriptors and timers, and takes them away again in `ended`.
    """

    def begun(self, run: Run) -> None:
        """The container's program runs."""

    def ended(self, run: Run, ended: exits.Exit) -> None:
        """The run is over, and its exit is written down."""

    def after(self, ended: exits.Exit) -> float | None:  # noqa: ARG002
        """Return in how many seconds it is to run again, None for not at all. The first part that wants it is heard."""
        return None


def parts_of(watch: Watch) -> tuple[Part, ...]:  # noqa: ARG001  there are none yet
    """Return what goes along with this container's runs."""
    return ()


class Life:
    """All runs of one container under this supervisor. `clients` are those who are attached, or wait for the start."""

    def __init__(self, watch: Watch, client: Client) -> None:
        self.watch = watch
        self.loop = Loop()
        self.clients = [client]
        self.before: exits.Exit | None = None  # how it ended the last time
        self.parts: tuple[Part, ...] = ()

    def live(self) -> None:
        """Run the container as often as it is to run. Raises what kept it from starting."""
        self.parts = parts_of(self.watch)
        while True:
            run = self._begin()
            ended = run.stay()
            self._tell("die", exitCode=str(ended.code), execDuration=str(int(time.time() - run.started_at)))
            exits.tell(self.watch.directory, ended.code)
            if self.watch.remove:
                self._vanish(run, ended)
                return
            delay = self._end(run, ended)
            if delay is None:
                lock.release(self.watch.lock)  # before the clients hear of it: they may start or remove it at once
                self._say_goodbye(ended)
                return
            self._say_goodbye(ended)
            self._rest(delay)
            self._renew()

    def _begin(self) -> Run:
        if not self.watch.remove:
            self.before = exits.begin(self.watch.directory)  # first: whatever fails, it is known that it has run before
        run = Run(self.watch, self.loop)
        run.begin()
        self._tell("start")
        for client in self.clients:
            client.join(run)
        for part in self.parts:
            part.begun(run)
        return run

    def _end(self, run: Run, ended: exits.Exit) -> float | None:
        """Write down how the run ended and take away what it had; return in how many seconds the next one begins."""
        try:
            exits.write(self.watch.directory, ended)  # before the state is forgotten: it is never unknown how it is
        except OSError:
            pass  # who is attached hears the code; to others it is lost, as after a crash
        run.clean()
        for part in self.parts:
            part.ended(run, ended)
        wanted = (part.after(ended) for part in self.parts)
        return next((delay for delay in wanted if delay is not None), None)

    def _vanish(self, run: Run, ended: exits.Exit) -> None:
        """Keep --rm. Nobody waits for more than its name: it is no container any more, and its ID never comes again."""
        run.forget()
        delete = vanish(self.watch.container)
        self._say_goodbye(ended)
        run.clean()
        try:
            delete()
        except (CrateError, OSError):
            pass  # files that cannot be deleted stay, hidden, until the next `rm`

    def _say_goodbye(self, ended: exits.Exit) -> None:
        for client in self.clients:
            client.say(dialogue.EXITED + str(ended.code).encode())
            client.close()
        self.clients = []

    def _rest(self, seconds: float) -> None:
        """Wait for the next run."""
        over: list[bool] = []
        self.loop.after(seconds, lambda: over.append(True))
        while not over:
            self.loop.turn()

    def _renew(self) -> None:
        """Make ready for the next run what a start makes ready: the container may have been changed meanwhile."""
        from cratebox.engine import launch

        self.watch = launch.renewed(self.watch)

    def _tell(self, action: str, **more: str) -> None:
        who = self.watch.container
        events.emit(who.paths, "container", action, who.id, {**who.attributes, **more})
