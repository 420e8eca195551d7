"""Network namespaces of a test's own: each a process that sleeps in one, and functions that run inside of it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

from cratebox.linux import const, namespaces


class Namespace:
    """A network namespace with its loopback up, for as long as this object is not closed."""

    def __init__(self) -> None:
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                namespaces.unshare(const.CLONE_NEWNET)
                subprocess.run(["/sbin/ip", "link", "set", "lo", "up"], check=True)
                os.write(told, b"R")
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(told)
        if os.read(ready, 1) != b"R":
            self.close()
            raise OSError("no network namespace")
        os.close(ready)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, with everybody who is still in it and has not forked away."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what `function` returns (something that pickle takes), called in a child inside; raise what it raises."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                enter(self.pid)
                try:
                    result = (True, function(*args))
                except Exception as error:
                    result = (False, error)
                with os.fdopen(writing, "wb") as file:
                    pickle.dump(result, file)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            text = file.read()
        os.waitpid(child, 0)
        fine, result = pickle.loads(text)
        if not fine:
            raise result
        return result

    def run(self, *argv: str) -> str:
        """Run a program inside and return what it prints."""
        words = ["/usr/bin/nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout


def enter(pid: int) -> None:
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(fd, const.CLONE_NEWNET)
    os.close(fd)


def sockets_inside(pid: int, kinds: list[tuple[int, int, int, tuple[str, int] | None]]) -> list[socket.socket]:
    """Return sockets that were made in the network namespace of a process; those of streams with an address listen."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            enter(pid)
            made = []
            for family, kind, protocol, address in kinds:
                sock = socket.socket(family, kind, protocol)
                if address:
                    sock.bind(address)
                    if kind == socket.SOCK_STREAM:
                        sock.listen(64)
                made.append(sock)
            rights = struct.pack(f"{len(made)}i", *(sock.fileno() for sock in made))
            theirs.sendmsg([b"S"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        data, ancillary, _flags, _address = ours.recvmsg(1, socket.CMSG_SPACE(4 * len(kinds)))
    os.waitpid(child, 0)
    if not data:
        raise OSError(f"no sockets in the namespace of {pid}")
    fds = struct.unpack(f"{len(kinds)}i", ancillary[0][2])
    return [socket.socket(fileno=fd) for fd in fds]
