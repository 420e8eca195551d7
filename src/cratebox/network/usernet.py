"""The network namespace of a user, in which the bridges between his containers are, as the machine's are in the machine's own.

A namespace lasts as long as somebody is in it: a process of some kilobytes (linux/sleeper.py) that does nothing else. It is made with the
first lease and ended with the last, and with it all bridges. Nothing is forwarded in there: networks do not reach each other, and
the way outside is each container's own (usermode.py). Who it is stands in `state`/networks/holder: pid, start time, boot.
"""

from __future__ import annotations

import os

from cratebox.errors import Unsupported
from cratebox.linux import const, lock, namespaces, process, sleeper, stub, userns
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from cratebox.network.model import Place

_NAME = "crate-networks"
_SIGKILL = 9
_CLOSED = (  # not the bridges' business, and inherited from the machine
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
)


def holder(place: Place) -> int:
    """Return the process that holds the user's namespace, or 0 where there is none."""
    try:
        pid, started, boot = read_text(_file(place)).split()
    except (OSError, ValueError):
        return 0
    return int(pid) if boot == process.boot_id() and process.start_time(int(pid)) == int(started) else 0


def outside(place: Place) -> int:
    """Return the process that holds the user's namespace, which is made where there is none.

    Raises Unsupported where the machine has no namespaces for users.
    """
    found = holder(place)
    if found:
        return found
    held = lock.hold(_file(place) + ".lock")
    try:
        return holder(place) or _begin(place)
    finally:
        lock.release(held)


def _begin(place: Place) -> int:
    try:
        pid, started = _make(place.state)
    except OSError as error:
        raise Unsupported(f"cannot make a network namespace for your containers: {error.strerror}", userns.hint()) from None
    _write(_file(place), f"{pid} {started} {process.boot_id()}\n")
    return pid


def end(place: Place) -> None:
    """End the namespace, and with it all interfaces in it. Where there is none, nothing happens."""
    pid = holder(place)
    try:
        if pid:
            pidfd = os.pidfd_open(pid)
            try:
                if holder(place) == pid:  # not another one with its number
                    process.send_signal(pidfd, _SIGKILL)
            finally:
                os.close(pidfd)
        os.unlink(_file(place))
    except (ProcessLookupError, FileNotFoundError):
        pass


def _file(place: Place) -> str:
    return place.state + "/networks/holder"


def _write(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def _make(word: str) -> tuple[int, int]:
    """Start the process in new namespaces, as nobody's child, with `word` for its argument; return its pid and start time. Raises OSError.

    Its parent is a child of ours that ends at once, so that whoever becomes a parent of orphans here reaps it.
    """
    program = stub.sealed(sleeper.build({}))
    reading, writing = os.pipe()
    try:
        between, between_pidfd = namespaces.clone(0)
        if between == 0:
            _between(program, word, writing)
        os.close(between_pidfd)
        os.close(writing)
        writing = -1
        with open(reading, "rb") as said:
            reading = -1
            answer = said.read().decode().split()
        os.waitpid(between, 0)
    finally:
        for fd in (program, reading, writing):
            if fd >= 0:
                os.close(fd)
    if answer[:1] != ["ok"]:
        number = int(answer[0]) if answer else 0
        raise OSError(number, os.strerror(number) if number else "who was to hold it has ended")
    return int(answer[1]), int(answer[2])


def _between(program: int, word: str, writing: int) -> NoReturn:
    """Make the namespaces, and stay until their process is ready to be alone."""
    pid = 0
    try:
        go_read, go_write = os.pipe()
        ready_read, ready_write = os.pipe()
        pid, _pidfd = namespaces.clone(const.CLONE_NEWUSER | const.CLONE_NEWNET)
        if pid == 0:
            _hold(program, word, go_read, ready_write, (go_write, ready_read, writing))
        os.close(ready_write)
        uid, gid = userns.IDMap(0, os.geteuid(), 1), userns.IDMap(0, os.getegid(), 1)
        userns.write_maps(pid, (uid,), (gid,))
        os.write(go_write, b"G")
        failed = os.read(ready_read, 16)  # closed by execve
        os.write(writing, failed or f"ok {pid} {process.start_time(pid)}".encode())
    except OSError as error:
        if pid:
            os.kill(pid, _SIGKILL)
        os.write(writing, str(error.errno).encode())
    finally:
        os._exit(0)


def _hold(program: int, word: str, go: int, ready: int, others: tuple[int, ...]) -> None:
    try:
        for fd in others:
            os.close(fd)
        if os.read(go, 1) != b"G":
            return
        for path in _CLOSED:
            _forbid(path)
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3):
            os.dup2(nothing, fd)
        process.close_from(3, (program, ready))
        os.chdir("/")
        sleeper.execute(program, _NAME, [word], [])
    except OSError as error:
        os.write(ready, str(error.errno).encode())
    finally:
        os._exit(1)


def _forbid(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a kernel without IPv6
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)
