"""The network namespace of a user, in which the bridges between his containers are, as the machine's are in the machine's own.

A namespace lasts as long as somebody is in it: a process of some kilobytes (linux/sleeper.py) that does nothing else. It is
made with the first lease and ended with the last, and with it all bridges. Nothing is forwarded in there: networks do not reach
each other, and the way outside is each container's own (usermode.py).
Who it is stands in `state`/networks/holder: pid, start time, boot.
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
    is_he = boot == process.boot_id() and process.start_time(int(pid)) == int(started) > 0
    return int(pid) if is_he else 0


def identity(place: Place) -> str:
    """Return what tells the process that holds the user's namespace from a later one, "" where there is none."""
    pid = holder(place)
    return f"{pid} {process.start_time(pid)}" if pid else ""


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
    """The process goes on when it is written down who it is: where its maker is killed before that, it ends as well."""
    go, told, between = -1, -1, 0
    try:
        go, told, between = _start(place.state)
        words = _line(told).split()
        if len(words) != 2:
            raise _failure(words)
        pid, started = int(words[0]), int(words[1])
        _write(_file(place), f"{pid} {started} {process.boot_id()}\n")
        os.write(go, b"G")
        if (words := _line(told).split()) or process.start_time(pid) != started:  # closed by execve
            raise _failure(words)
    except OSError as error:
        raise Unsupported(f"cannot make a network namespace for your containers: {error.strerror}", userns.hint()) from None
    finally:
        for fd in (go, told):
            if fd >= 0:
                os.close(fd)
        if between:
            os.waitpid(between, 0)
    return pid


def _line(fd: int) -> str:
    """Read up to the end of a line, or of the pipe, and not beyond."""
    text = b""
    while not text.endswith(b"\n") and (more := os.read(fd, 1)):
        text += more
    return text.decode()


def _failure(words: list[str]) -> OSError:
    number = int(words[0]) if words else 0
    return OSError(number, os.strerror(number) if number else "who was to hold it has ended")


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


def _start(word: str) -> tuple[int, int, int]:
    """Start the process in new namespaces, with `word` for its argument, as the child of a child that ends at once.
    Raises OSError.

    Return the pipe by which it is let go on, the one from which come a line with its pid and start time and then the errno of
    what has failed, if anything has, and the child. So whoever becomes a parent of orphans here reaps it,
    and nobody it is a burden to.
    """
    program = stub.sealed(sleeper.build({}))
    go, let_go = os.pipe()
    told, telling = os.pipe()
    try:
        between, pidfd = namespaces.clone(0)
        if between == 0:
            os.close(let_go)
            os.close(told)
            _between(program, word, go, telling)
        os.close(pidfd)
    except OSError:
        os.close(let_go)
        os.close(told)
        raise
    finally:
        for fd in (program, go, telling):
            os.close(fd)
    return let_go, told, between


def _between(program: int, word: str, go: int, telling: int) -> NoReturn:
    """Make the namespaces, and write their maps."""
    pid = 0
    try:
        mapped, mapping = os.pipe()
        pid, _pidfd = namespaces.clone(const.CLONE_NEWUSER | const.CLONE_NEWNET)
        if pid == 0:
            os.close(mapping)
            _hold(program, word, (mapped, go, telling))
        uid, gid = userns.IDMap(0, os.geteuid(), 1), userns.IDMap(0, os.getegid(), 1)
        userns.write_maps(pid, (uid,), (gid,))
        started = process.start_time(pid)
        os.write(telling, f"{pid} {started}\n".encode())
        os.write(mapping, b"M")
    except OSError as error:
        if pid:
            os.kill(pid, _SIGKILL)
        os.write(telling, f"{error.errno}\n".encode())
    finally:
        os._exit(0)


def _hold(program: int, word: str, pipes: tuple[int, int, int]) -> None:
    mapped, go, telling = pipes
    try:
        if os.read(mapped, 1) != b"M":
            return
        for path in _CLOSED:
            _forbid(path)
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3):
            os.dup2(nothing, fd)
        process.close_from(3, (program, go, telling))
        os.chdir("/")
        if os.read(go, 1) == b"G":  # else who has made it was killed
            sleeper.execute(program, _NAME, [word], [])
    except OSError as error:
        os.write(telling, f"{error.errno}\n".encode())
    finally:
        os._exit(1)


def _forbid(path: str) -> None:
    try:
        if read_text(path).strip() == "0":
            return  # where we are in a container ourselves, it may be read-only
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a kernel without IPv6
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)
