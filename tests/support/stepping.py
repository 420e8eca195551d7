"""A command, single-stepped from system call to system call by ptrace(2), one of whose processes is killed before one of them.

    python stepping.py COUNT -- COMMAND...           how many calls each process makes
    python stepping.py client/1:42 -- COMMAND...     SIGKILL before the 42nd call of the command's first child

A process is named after its place in the tree: `client` is the command, `client/2` its second child, `client/2/1` that
one's first. Counted are the calls after which the world may be another one. To be killed before a call that only looks is
the same as to be killed before the next one that acts, so every moment is covered. What was not killed is let go, and goes
on as if nobody had looked.

The command reads and writes /dev/null; STEPPING_AS=UID:GID says as whom it runs. The result is a line of JSON: {"calls":
{process: count}, "killed": [process, name of the call] or null, "status": the command's wait status, or null where it did
not end in time, "said": its standard error}.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

# Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl) that change nothing outside of the calling process.
LOOKING = frozenset((
    0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 23, 24, 25, 28, 35, 39, 63, 79, 89, 96, 97, 98, 99, 100,
    102, 104, 107, 108, 110, 111, 115, 118, 120, 121, 124, 131, 137, 138, 158, 186, 191, 192, 193, 194, 195, 196, 201,
    202, 204, 217, 218, 219, 228, 229, 230, 232, 262, 267, 269, 270, 271, 273, 281, 302, 318, 327, 332, 334, 439, 441,
))  # fmt: skip
NAMES = {
    1: "write", 2: "open", 3: "close", 16: "ioctl", 20: "writev", 22: "pipe", 32: "dup", 33: "dup2", 46: "sendmsg",
    47: "recvmsg", 53: "socketpair", 56: "clone", 57: "fork", 58: "vfork", 59: "execve", 61: "wait4", 62: "kill",
    72: "fcntl", 73: "flock", 74: "fsync", 76: "truncate", 77: "ftruncate", 80: "chdir", 81: "fchdir", 82: "rename",
    83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink", 88: "symlink", 90: "chmod", 91: "fchmod", 92: "chown",
    93: "fchown", 112: "setsid", 116: "setgroups", 117: "setresuid", 119: "setresgid", 126: "capset", 133: "mknod",
    155: "pivot_root", 157: "prctl", 161: "chroot", 165: "mount", 166: "umount2", 170: "sethostname", 188: "setxattr",
    231: "exit_group", 247: "waitid", 250: "keyctl", 257: "openat", 258: "mkdirat", 259: "mknodat", 260: "fchownat",
    263: "unlinkat", 265: "linkat", 266: "symlinkat", 268: "fchmodat", 272: "unshare", 280: "utimensat",
    285: "fallocate", 292: "dup3", 293: "pipe2", 306: "syncfs", 308: "setns", 316: "renameat2", 317: "seccomp",
    319: "memfd_create", 322: "execveat", 424: "pidfd_send_signal", 428: "open_tree", 429: "move_mount", 430: "fsopen",
    431: "fsconfig", 432: "fsmount", 434: "pidfd_open", 435: "clone3", 436: "close_range", 437: "openat2",
    442: "mount_setattr",
}  # fmt: skip
_OPENING = {2: 1, 257: 2}  # the argument that has the flags
_ACTING_FLAGS = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR

_CONT, _DETACH, _SYSCALL, _SEIZE, _INTERRUPT, _LISTEN = 7, 17, 24, 0x4206, 0x4207, 0x4208
_GET_EVENT, _GET_CALL = 0x4201, 0x420E
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100000  # TRACESYSGOOD, FORK, VFORK, CLONE, EXEC, EXITKILL
_SECONDS_BEHIND = 3.0  # what goes on behind the command's end: a container that runs goes on for ever
_FORKS, _EVENT_STOP = {1, 2, 3}, 128
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Call(ctypes.Structure):
    """struct ptrace_syscall_info, of a stop before a call."""

    _fields_ = (
        ("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64), ("arguments", ctypes.c_uint64 * 6), ("rest", ctypes.c_uint64 * 4),
    )  # fmt: skip


def ptrace(request: int, pid: int, address: object = 0, data: object = 0) -> bool:
    """Call ptrace(2); say whether it could be done: a process may be killed at any moment."""
    return bool(_libc.ptrace(request, pid, address, data) != -1)


class Tree:
    """The processes of a command. `victim` and `moment` say who is killed before which of its calls."""

    def __init__(self, victim: str, moment: int) -> None:
        self.victim, self.moment = victim, moment
        self.names: dict[int, str] = {}
        self.children: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.killed: list[str] | None = None
        self.held: set[int] = set()
        self.said = os.memfd_create("said")

    def begin(self, argv: list[str]) -> int:
        """Start the command; return its pid."""
        pid = os.fork()
        if pid == 0:
            _become(self.said)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execvp(argv[0], argv)
        os.waitpid(pid, os.WUNTRACED)
        self.names[pid] = "client"
        self.held.add(pid)
        if not ptrace(_SEIZE, pid, 0, _OPTIONS):
            raise OSError(ctypes.get_errno(), "ptrace(PTRACE_SEIZE)")
        os.kill(pid, signal.SIGCONT)
        return pid

    def follow(self, seconds: float) -> int | None:
        """Step until the command has ended, and nobody is held or those who are do nothing more that belongs to it; return its
        wait status, None where that takes too long.
        """
        first, status = next(iter(self.names)), None
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            while self.held or status is None:
                pid, stopped = os.waitpid(-1, _WALL)
                if os.WIFSTOPPED(stopped):
                    self._stopped(pid, stopped)
                    continue
                self.held.discard(pid)
                if pid == first:
                    status = stopped
                    signal.setitimer(signal.ITIMER_REAL, _SECONDS_BEHIND)
        except (TimeoutError, ChildProcessError):
            pass  # the latter: none is left, whoever was thought to be held
        return status

    def let_go(self) -> None:
        """Ask all to stop, so that they can be let go."""
        for pid in self.held:
            ptrace(_INTERRUPT, pid)

    def _stopped(self, pid: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        if event in _FORKS:
            new = ctypes.c_ulong()
            ptrace(_GET_EVENT, pid, 0, ctypes.byref(new))
            self._born(pid, new.value)
        elif number == signal.SIGTRAP | 0x80:
            self._called(pid)
        if pid not in self.held:
            self.held.add(pid)  # it stops before its parent tells of it
        group_stop = event == _EVENT_STOP and number in {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
        passed = 0 if event or number == signal.SIGTRAP | 0x80 else number
        if self.killed:
            if ptrace(_DETACH, pid, 0, passed):
                self.held.discard(pid)
        elif group_stop:
            ptrace(_LISTEN, pid)
        else:
            ptrace(_SYSCALL, pid, 0, passed)

    def _born(self, parent: int, pid: int) -> None:
        """A thread has its process's name."""
        name = self.names.get(parent, "?")
        if not os.path.isdir(f"/proc/{parent}/task/{pid}"):
            self.children[name] = self.children.get(name, 0) + 1
            name = f"{name}/{self.children[name]}"
        self.names[pid] = name
        self.held.add(pid)

    def _called(self, pid: int) -> None:
        call = _Call()
        ptrace(_GET_CALL, pid, ctypes.sizeof(call), ctypes.byref(call))
        name = self.names.get(pid)
        if call.op != 1 or name is None or not _acts(call):
            return
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.killed is None and name == self.victim and self.calls[name] == self.moment:
            self.killed = [name, NAMES.get(call.number, str(call.number))]
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # somebody else was faster
            self.let_go()


def _become(said: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for number, fd in enumerate((null, null, said)):
        os.dup2(fd, number)
    if who := os.environ.pop("STEPPING_AS", ""):
        uid, gid = map(int, who.split(":"))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError


def _acts(call: _Call) -> bool:
    if call.number in _OPENING:
        return bool(call.arguments[_OPENING[call.number]] & _ACTING_FLAGS)
    return call.number not in LOOKING


def main() -> None:
    what, argv = sys.argv[1], sys.argv[3:]
    victim, _, moment = what.partition(":")
    tree = Tree(victim, int(moment or 0))
    tree.begin(argv)
    status = tree.follow(float(os.environ.get("STEPPING_SECONDS", "30")))
    said = os.pread(tree.said, 1 << 20, 0).decode(errors="replace")
    print(json.dumps({"calls": tree.calls, "killed": tree.killed, "status": status, "said": said}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
