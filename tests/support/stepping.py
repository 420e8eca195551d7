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
import functools
import json
import os
import signal
import sys

# Calls that change nothing outside of the calling process, by the names that libseccomp has for this machine's numbers.
LOOKING = frozenset((
    "access", "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "faccessat", "faccessat2", "fgetxattr", "flistxattr", "fstat", "fstatfs", "futex", "getcwd", "getdents64",
    "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getrandom", "getresgid",
    "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "gettimeofday", "getuid", "getxattr", "lgetxattr",
    "listxattr", "llistxattr", "lseek", "lstat", "madvise", "mmap", "mprotect", "mremap", "munmap", "nanosleep",
    "newfstatat", "poll", "ppoll", "pread64", "preadv2", "prlimit64", "pselect6", "read", "readlink", "readlinkat", "readv",
    "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield",
    "select", "set_robust_list", "set_tid_address", "sigaltstack", "stat", "statfs", "statx", "sysinfo", "time", "times",
    "uname",
))  # fmt: skip
_OPENING = {"open": 1, "openat": 2}  # the argument that has the flags
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
_libseccomp = ctypes.CDLL("libseccomp.so.2")
_libseccomp.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
_libseccomp.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p  # the caller's to free
_libc.free.argtypes = [ctypes.c_void_p]


class _Call(ctypes.Structure):
    """struct ptrace_syscall_info, of a stop before a call."""

    _fields_ = (
        ("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64), ("arguments", ctypes.c_uint64 * 6), ("rest", ctypes.c_uint64 * 4),
    )  # fmt: skip


def ptrace(request: int, pid: int, address: object = 0, data: object = 0) -> bool:
    """Call ptrace(2); say whether it could be done: a process may be killed at any moment."""
    return bool(_libc.ptrace(request, pid, address, data) != -1)


@functools.cache
def name_of(arch: int, number: int) -> str:
    """Return the name of a call of a machine (AUDIT_ARCH_*), its number where libseccomp knows none."""
    address = _libseccomp.seccomp_syscall_resolve_num_arch(arch, number)
    name = ctypes.string_at(address).decode() if address else str(number)
    _libc.free(address)
    return name


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
            self.killed = [name, name_of(call.arch, call.number)]
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # somebody else was faster
            self.let_go()


def _become(said: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    given = os.open(os.environ.pop("STEPPING_INPUT", "/dev/null"), os.O_RDONLY)
    for number, fd in enumerate((given, null, said)):
        os.dup2(fd, number)
    if who := os.environ.pop("STEPPING_AS", ""):
        uid, gid = map(int, who.split(":"))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError


def _acts(call: _Call) -> bool:
    name = name_of(call.arch, call.number)
    if name in _OPENING:
        return bool(call.arguments[_OPENING[name]] & _ACTING_FLAGS)
    return name not in LOOKING


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
