"""The supervisor's side of somebody who is attached to the container, or waits for it to start: see dialogue.py."""

from __future__ import annotations

import os

from cratebox.engine import dialogue
from cratebox.engine.pump import Sink
from cratebox.linux import fdpass

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping

    from cratebox.engine.running import Run


class Client:
    """One client: the socket of the dialogue and, where he is attached, the descriptors `output` for the container's streams.

    Whatever he does, and wherever he is killed, the container goes on. `left` is called when he has gone.
    """

    def __init__(self, sock: _socket.socket, output: Mapping[str, int], attached: bool) -> None:
        self.output, self.attached = dict(output), attached
        self.left: Callable[[Client], None] = _nothing
        self._sock: _socket.socket | None = sock
        self._sinks: list[Sink] = []
        self._run: Run | None = None

    @property
    def descriptors(self) -> dict[str, int]:
        """What another supervisor would need to go on with him, by name."""
        if not self._sock:
            return {}
        return {"socket" if self.attached else "waiting": self._sock.fileno(), **self.output}

    def join(self, run: Run) -> None:
        """Tell him that the container runs; one who stays hears of its end, and its output is his from here on."""
        self._run = run
        for name, fd in self.output.items():
            sink = Sink(fd, self._broken, lambda errno, name=name: self._unwritten(name, errno))  # type: ignore[misc]
            self._sinks.append(sink)
            run.pump.attach(name, sink)
        given = run.console if run.console >= 0 else run.watch.stdin
        self.say(dialogue.STARTED, (given,) if given >= 0 and self.attached else ())
        if self._sock and self.attached:
            run.loop.watch(self._sock.fileno(), self._hear)
        else:
            self.close()

    def say(self, message: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send a message; nothing where he is gone."""
        try:
            if self._sock:
                fdpass.send(self._sock, message, fds)
        except OSError:
            pass

    def close(self) -> None:
        """Let him go: pass nothing on to him, and hear him no more."""
        if not self._sock:
            return
        if self._run:
            self._run.loop.unwatch(self._sock.fileno())
            for sink in self._sinks:
                self._run.pump.detach(sink)
        else:
            for fd in self.output.values():
                os.close(fd)
        self._sinks, self.output = [], {}
        self._sock.close()
        self._sock = None
        self.left(self)

    def _hear(self) -> None:
        assert self._sock
        assert self._run
        try:
            message = fdpass.receive(self._sock)[0]
        except OSError:
            message = b""
        kind, rest = message[:1], message[1:]
        if kind == dialogue.SIGNAL:
            try:
                self._run.vigil.signal(int(rest))
            except (OSError, ValueError, OverflowError):
                pass  # it has just ended, or that is no signal
        elif kind in {dialogue.DETACH, b""}:
            self.close()

    def _unwritten(self, name: str, errno: int) -> None:
        """He stays: the other stream may be whole, and he hears how the container ends."""
        number = 1 if name == "stdout" else 2
        self.say(dialogue.UNWRITTEN + f"{number} {errno}".encode())

    def _broken(self) -> None:
        self.say(dialogue.BROKEN)
        self.close()


def _nothing(_client: Client) -> None:
    """Nobody asks."""
