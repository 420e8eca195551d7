"""A terminal with a command of crate's in it, driven as a person would."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

PATIENCE = 60.0


class Screen:
    """A terminal with a command in it: what is typed and what is shown. `slave` stays open: its settings can be read."""

    def __init__(self, ready, verb: tuple[str, ...], words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
        self.master, self.slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        crate = ready.crate
        argv = crate.argv(*verb, *words)
        if crate.person.uid != os.geteuid():
            os.fchown(self.slave, crate.person.uid, crate.person.gid)
        self.process = subprocess.Popen(
            argv,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=crate.person.environment(crate.environment),
            cwd=crate.person.home,
            start_new_session=True,
            preexec_fn=self._make_controlling,  # noqa: PLW1509  one system call
            **crate.person.identity(),
        )
        self.shown = b""

    @staticmethod
    def _make_controlling() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def see(self, text: bytes, seconds: float = PATIENCE) -> bytes:
        """Wait until `text` is shown; return everything shown up to its end, and forget that."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not shown; shown is {self.shown!r}"
            if select.select([self.master], [], [], min(left, 0.2))[0]:
                self.shown += os.read(self.master, 65536)
        end = self.shown.index(text) + len(text)
        seen, self.shown = self.shown[:end], self.shown[end:]
        return seen

    def end(self) -> int:
        """Wait for the end of the command, reading what it still shows; return its code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; shown is {self.shown!r}"
            if select.select([self.master], [], [], 0.02)[0]:
                self.shown += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0.05)[0]:
            self.shown += os.read(self.master, 65536)
        return self.process.returncode

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    @property
    def is_raw(self) -> bool:
        flags = termios.tcgetattr(self.slave)[3]
        return not flags & (termios.ICANON | termios.ECHO | termios.ISIG)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self.master)
        os.close(self.slave)
