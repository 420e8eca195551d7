"""The supervisor's side of somebody who is attached to the container, or waits for it to start: see dialogue.py."""

from __future__ import annotations

import os

from cratebox.engine import dialogue
from cratebox.engine.pump import Sink
from cratebox.linux import fdpass

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.engine.running import Run


class Client:
    """One client: the socket of the dialogue and, where he is attached, the descriptors `output` for the container's streams.

    Whatever he does, and wherever he is killed, the container goes on.
    """

    def __init__(self, sock: _socket.socket, output: dict[str, int], attached: bool) -> None:
        self.output, self.attached = output, attached
        self._sock: _socket.socket | None = sock
        self._sinks: list[Sink] = []
        self._run: Run

    def join(self, run: Run) -> None:
        """Tell him that the container runs; one who stays hears of its end, and its output is his from here on."""
        self._run = run
        for name, fd in self.output.items():
            sink = Sink(fd, self._broken)
            self._sinks.append(sink)
            run.pump.attach(name, sink)
        self.output = {}
        self.say(dialogue.STARTED, (run.console,) if run.console >= 0 and self.attached else ())
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
        for fd in self.output.values():
            os.close(fd)
        self.output = {}
        for sink in self._sinks:
            self._run.pump.detach(sink)
        self._sinks = []
        if self._sock:
            if self.attached and hasattr(self, "_run"):
                self._run.loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _hear(self) -> None:
        assert self._sock
        try:
            message = fdpass.receive(self._sock)[0]
        except OSError:
            message = b""
        kind, rest = message[:1], message[1:]
        if kind == dialogue.SIGNAL:
            try:
                self._run.signal(int(rest))
            except (OSError, ValueError):
                pass  # it has just ended
        elif kind == dialogue.STDIN_ENDED:
            self._run.end_stdin()
        elif kind in {dialogue.DETACH, b""}:
            self.close()

    def _broken(self) -> None:
        self.say(dialogue.BROKEN)
        self.close()
