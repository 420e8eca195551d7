"""User namespaces: the maps of user and group IDs (user_namespaces(7)), and the programs that may write long ones."""

from __future__ import annotations

import os

from cratebox.linux import const, namespaces
from cratebox.linux.procfs import read_text
from cratebox.record import Record


class IDMap(Record):
    """`size` IDs from `inside` on, as the namespace sees them, are those from `outside` on."""

    inside: int
    outside: int
    size: int


def map_text(maps: tuple[IDMap, ...]) -> str:
    """Return `maps` in the form of /proc/PID/uid_map."""
    return "".join(f"{m.inside} {m.outside} {m.size}\n" for m in maps)


def write_maps(pid: int, uids: tuple[IDMap, ...], gids: tuple[IDMap, ...]) -> None:
    """Write the maps of the namespace of process `pid`: any map with privilege, else the caller's own IDs alone.

    An unprivileged caller must first give up setgroups(2) in the namespace. Raises OSError.
    """
    _write(f"/proc/{pid}/uid_map", map_text(uids))
    if os.geteuid() != 0:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/gid_map", map_text(gids))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"write({path}, {text.strip()!r}): {error.strerror}") from None
    finally:
        os.close(fd)


def write_maps_by_helpers(pid: int, uids: tuple[IDMap, ...], gids: tuple[IDMap, ...], programs: tuple[str, str]) -> None:
    """Let newuidmap(1) and newgidmap(1), which have the privilege, write the maps that /etc/subuid and subgid grant.

    `programs` are their paths. Both run at the same time. Raises OSError with what they said.
    """
    running = [_spawn(program, pid, maps) for program, maps in zip(programs, (uids, gids), strict=True)]
    failed = [text for text in [_finish(*one) for one in running] if text]
    if failed:
        raise OSError(1, "; ".join(failed))


def _spawn(program: str, pid: int, maps: tuple[IDMap, ...]) -> tuple[str, int, int]:
    reading, writing = os.pipe()
    words = [str(number) for m in maps for number in (m.inside, m.outside, m.size)]
    to_pipe = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
    try:
        child = os.posix_spawn(program, [program, str(pid), *words], {}, file_actions=to_pipe)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return program, child, reading


def _finish(program: str, child: int, reading: int) -> str:
    with open(reading, "rb") as said:
        text = said.read(4096).decode(errors="replace").strip()
    status = os.waitpid(child, 0)[1]
    return (text or f"{program} failed with wait status {status}") if status else ""


def map_ids(pid: int, uids: tuple[IDMap, ...], gids: tuple[IDMap, ...]) -> None:
    """Write the maps of the namespace of process `pid` by whichever way this caller may. Raises OSError.

    Root writes them. So does anybody for a map of nothing but his own IDs; anything longer goes through the helpers.
    """
    own = len(uids) == len(gids) == 1 and uids[0].size == gids[0].size == 1
    if os.geteuid() == 0 or (own and uids[0].outside == os.geteuid() and gids[0].outside == os.getegid()):
        write_maps(pid, uids, gids)
    else:
        write_maps_by_helpers(pid, uids, gids, helpers())


def open_new(uids: tuple[IDMap, ...], gids: tuple[IDMap, ...]) -> int:
    """Return a descriptor of a new user namespace with these maps, which nobody is in. Raises OSError.

    A process has to be in it while the maps are written: a child that waits, and is ended.
    """
    waiting, held = os.pipe()
    try:
        pid, pidfd = namespaces.clone(const.CLONE_NEWUSER)
        if pid == 0:
            os.close(held)
            os.read(waiting, 1)  # until its parent lets go, or dies
            os._exit(0)
        os.close(pidfd)
        try:
            map_ids(pid, uids, gids)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(held)
            held = -1
            os.waitpid(pid, 0)
    finally:
        for fd in (waiting, held):
            if fd >= 0:
                os.close(fd)


def helpers() -> tuple[str, str]:
    """Return the paths of newuidmap and newgidmap. Raises FileNotFoundError where they are not installed."""
    found = []
    for name in ("newuidmap", "newgidmap"):
        for directory in (*os.environ.get("PATH", "").split(":"), "/usr/bin", "/usr/local/bin"):
            if directory.startswith("/") and os.access(f"{directory}/{name}", os.X_OK):
                found.append(f"{directory}/{name}")
                break
        else:
            raise FileNotFoundError(2, f"{name} is not installed (Debian and Ubuntu: apt-get install uidmap)")
    return found[0], found[1]


def is_first() -> bool:
    """Tell whether this process is in the machine's first user namespace, where root is the machine's (user_namespaces(7))."""
    try:
        return read_text("/proc/self/uid_map").split() == ["0", "0", "4294967295"]
    except OSError:
        return True  # a kernel without user namespaces


def hint() -> str:
    """Return which setting of this machine keeps its users from making user namespaces or networks in them,
    and the command that mends it.
    """
    for path, bad, command in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("/proc/sys/user/max_net_namespaces", "0", "sysctl -w user.max_net_namespaces=15000"),
    ):
        try:
            if read_text(path).strip() == bad:
                return f"as root: {command}"
        except OSError:
            continue
    return "the kernel was built without user namespaces, or a seccomp filter around crate forbids them (as inside of Docker)"
