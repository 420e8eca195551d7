"""Namespaces that a container shares with others (linux.namespaces with a path), and time namespaces (config-linux.md).

    create.py                the joiner                               init
    ---------                ----------                               ----
    clone -----------------> setns into what is there already;
                             of new ones user and time, where both
                             or time alone are wanted
             <-------------- UNSHARED, once it is in a new user
    writes the ID maps       namespace
    MAPPED ----------------> becomes root of it; sets the clocks
                             clone (as a child of create) with all --> init.py
                             other new namespaces
             <-------------- JOINED + its pid and a pidfd; exits

A process of its own does it, since a PID namespace is joined, and the clocks of a time namespace are set, for one's
children alone (pid_namespaces(7), time_namespaces(7)). It speaks through a socket of its own: init may be faster.
"""

from __future__ import annotations

import fcntl
import os
import struct

from cratebox.errors import CrateError, InvalidValue, RuntimeFailure
from cratebox.linux import const, fdpass, namespaces, process
from cratebox.linux.procfs import read_text
from cratebox.record import Record
from cratebox.runtime import program, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from cratebox.runtime.spec import IDMapping, Linux, Process

KINDS = {
    "network": (const.CLONE_NEWNET, "net"),
    "ipc": (const.CLONE_NEWIPC, "ipc"),
    "uts": (const.CLONE_NEWUTS, "uts"),
    "pid": (const.CLONE_NEWPID, "pid"),
    "cgroup": (const.CLONE_NEWCGROUP, "cgroup"),
    "time": (const.CLONE_NEWTIME, "time"),
    "user": (const.CLONE_NEWUSER, "user"),
}
_NS_GET_NSTYPE = 0xB703
_EPERM, _ENOMEM = 1, 12


class Joining(Record):
    """What the joiner is told. `paths` are open namespaces, by type; `flags` what init's clone is to make new."""

    paths: tuple[tuple[str, int], ...]
    flags: int
    process: Process
    linux: Linux
    new_user: bool  # made here and not by init's clone
    new_time: bool
    hidden: bool  # whether the ID maps can be written while nobody may look in


def open_paths(linux: Linux) -> tuple[tuple[str, int], ...]:
    """Open the namespaces to be joined, those that we are in already left out.
    Raises InvalidValue for what is none of its type.
    """
    found: list[tuple[str, int]] = []
    try:
        for one in linux.namespaces:
            if one.path:
                fd = _open(one.type, one.path)
                if os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{KINDS[one.type][1]}")):
                    os.close(fd)
                else:
                    found.append((one.type, fd))
    except BaseException:
        close(tuple(found))
        raise
    return tuple(found)


def _open(kind: str, path: str) -> int:
    where = f"spec: linux.namespaces: {ascii(path)[1:-1]}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise InvalidValue(f"{where}: {(error.strerror or '').lower()}") from None
    try:
        found = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        found = 0
    if found != KINDS[kind][0]:
        os.close(fd)
        raise InvalidValue(f"{where} is no {kind} namespace")
    return fd


def close(paths: tuple[tuple[str, int], ...]) -> None:
    """Close what `open_paths` opened."""
    for _kind, fd in paths:
        os.close(fd)


def clone(order: Joining, map_ids: Callable[[int], None], cgroup_fd: int, become: Callable[[], None]) -> tuple[int, int]:
    """Clone init through a joiner; return its pid and a pidfd. `become` is called in it and does not return.

    `map_ids` writes the maps of the new user namespace of a process. Raises RuntimeFailure and its kin; nobody is left then.
    """
    ours, theirs = fdpass.pair()
    joiner, pidfd = namespaces.clone(0)
    if joiner == 0:
        ours.close()
        _guard(theirs, lambda: _join(order, theirs, cgroup_fd, become))
    theirs.close()
    os.close(pidfd)
    try:
        while True:
            message, fds = fdpass.receive(ours)
            if message == sync.UNSHARED:
                map_ids(joiner)
                fdpass.send(ours, sync.MAPPED)
            elif message[:1] == sync.JOINED and len(fds) == 1:
                return struct.unpack("=i", message[1:5])[0], fds[0]
            elif message[:1] == sync.FAILED:
                raise sync.unpack_error(message)
            else:
                raise RuntimeFailure(
                    "the process that joins the container's namespaces died", "memory may have run out: see dmesg"
                )
    finally:
        ours.close()
        os.waitpid(joiner, 0)


def _guard(sock: _socket.socket, steps: Callable[[], None]) -> None:
    try:
        steps()
    except CrateError as error:
        fdpass.send(sock, sync.pack_error(error))
    except OSError as error:
        fdpass.send(sock, sync.pack_error(RuntimeFailure(str(error.strerror))))
    except BaseException as error:  # noqa: BLE001  the parent must hear of everything: nobody else would
        fdpass.send(sock, sync.pack_error(RuntimeFailure(f"internal error in the joiner: {type(error).__name__}: {error}")))
    finally:
        os._exit(1)


def _join(order: Joining, sock: _socket.socket, cgroup_fd: int, become: Callable[[], None]) -> None:
    program.set_oom_score(order.process)
    # Before setns: whoever is in there could look into us. Maps that an ordinary user writes are written while they can.
    process.set_dumpable(order.new_user and not order.hidden)
    _enter(order)
    if order.new_user:
        _unshare(const.CLONE_NEWUSER)
        fdpass.send(sock, sync.UNSHARED)
        if fdpass.receive(sock)[0] != sync.MAPPED:
            os._exit(1)  # the parent died, or could not write the maps and says so itself
        program.become_root()
    if order.new_time:
        _unshare(const.CLONE_NEWTIME)
        process.set_dumpable(True)  # else the file is the machine's root's; no PID namespace has us in it yet but our own
        _set_clocks(order.linux)
    process.set_dumpable(False)
    try:
        pid, pidfd = namespaces.clone(order.flags | const.CLONE_PARENT, cgroup_fd)
    except OSError as error:
        if error.errno == _ENOMEM and any(kind == "pid" for kind, _fd in order.paths):  # fork(2)
            raise RuntimeFailure("cannot join the pid namespace: its first process has ended") from None
        raise RuntimeFailure(f"cannot make the container's first process: {error.strerror}") from None
    if pid == 0:
        sock.close()
        if order.flags & const.CLONE_NEWUSER and not order.hidden:
            process.set_dumpable(True)  # until its maps are written
        become()
    fdpass.send(sock, sync.JOINED + struct.pack("=i", pid), (pidfd,))
    os._exit(0)


def _unshare(kind: int) -> None:
    try:
        namespaces.unshare(kind)
    except OSError as error:
        raise RuntimeFailure(f"cannot make the container's namespaces: {error.strerror}") from None


def _enter(order: Joining) -> None:
    """Join what is there: with our own rights first, and with those of the user namespace joined what that owns."""
    others = [one for one in order.paths if one[0] != "user"]
    left = [one for one in others if not _set(*one, may_fail=True)]
    for kind, fd in order.paths:
        if kind == "user":
            _set(kind, fd)
            program.become_root()
            _check_maps(order.linux)
            process.set_dumpable(False)  # changing IDs may have changed it back
    for kind, fd in left:
        _set(kind, fd)


def _set(kind: str, fd: int, may_fail: bool = False) -> bool:
    try:
        namespaces.setns(fd, KINDS[kind][0])
    except OSError as error:
        if may_fail and error.errno == _EPERM:
            return False
        raise RuntimeFailure(
            f"cannot join the {kind} namespace: {error.strerror}",
            "it takes CAP_SYS_ADMIN in the user namespace that owns it" if error.errno == _EPERM else None,
        ) from None
    return True


def _check_maps(linux: Linux) -> None:
    """Mappings in the spec must be what the user namespace that was joined has: nobody can write others."""
    for mappings, name in ((linux.uid_mappings, "uid"), (linux.gid_mappings, "gid")):
        if mappings and _numbers(mappings) != sorted(_lines(read_text(f"/proc/self/{name}_map"))):
            raise InvalidValue(
                f"spec: linux.{name}Mappings are not those of the user namespace that is joined", "leave them out, or mend them"
            )


def _numbers(mappings: tuple[IDMapping, ...]) -> list[tuple[int, ...]]:
    return sorted((one.container_id, one.host_id, one.size) for one in mappings)


def _lines(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, line.split())) for line in text.splitlines()]


def _set_clocks(linux: Linux) -> None:
    offsets = linux.time_offsets or {}
    if offsets:
        text = "".join(f"{clock} {one.secs} {one.nanosecs}\n" for clock, one in offsets.items())
        try:
            program.write_file("/proc/self/timens_offsets", text)
        except RuntimeFailure as error:
            raise RuntimeFailure(f"cannot set linux.timeOffsets: {error.message}", "it takes CAP_SYS_TIME") from None
