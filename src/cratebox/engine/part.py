"""What goes along with the runs of a container, in the form that `life.py` knows: it asks each part, at each step."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from cratebox.engine.exits import Exit
    from cratebox.engine.loop import Loop, Timer
    from cratebox.engine.running import Run


class Part:
    """What goes along with the runs of a container: a restart policy, health checks, a time limit.

    A part waits in `run.loop`, with descriptors and timers, and takes them away again in `ended`.
    """

    def begun(self, run: Run) -> None:
        """The container's program runs."""

    def resumed(self, run: Run) -> None:
        """The supervisor before this one was killed; its run goes on."""
        self.begun(run)

    def followed(self, ended: Exit) -> None:
        """The supervisor before this one was killed when a run was over; what `after` says is asked once more."""

    @property
    def watched(self) -> dict[int, int]:
        """Its descriptors in the loop, with their events, of which each may wake a supervisor that sleeps."""
        return {}

    @property
    def timers(self) -> tuple[Timer, ...]:
        """Its timers in the loop that `resumed` sets again, with what is left of their time."""
        return ()

    def recalled(self) -> None:
        """The supervisor before this one was killed while it began a run again, which is over with it:
        `after` is asked next.
        """

    def asked(self, sock: _socket.socket) -> bool:  # noqa: ARG002
        """Somebody wants to know now how the container is. Return whether he will get an answer here,
        and his socket be closed.
        """
        return False

    def after(self, ended: Exit, took: float) -> float | None:  # noqa: ARG002
        """Return in how many seconds it is to run again, None for not at all. The first part that wants it is heard.

        The run took so many seconds; 0 for one that could not even begin.
        """
        return None

    def known(self, ended: Exit) -> Exit:
        """Return what is to be written down of the end, with what this part knows. Its cgroup is still there."""
        return ended

    def ended(self, run: Run, ended: Exit) -> None:
        """The run is over, and its exit is written down."""

    def resting(self, loop: Loop, seconds: float, wake: Callable[[], object]) -> None:
        """The container waits for its next run; `wake` ends that early."""

    def rested(self, loop: Loop) -> bool:  # noqa: ARG002
        """The wait is over: return whether the next run is still wanted."""
        return True
