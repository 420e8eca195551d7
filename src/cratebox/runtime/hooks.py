"""Hooks: programs that a spec wants to be run along a container's life (config.md, POSIX-platform Hooks; runtime.md,
Lifecycle).

    prestart, createRuntime    on the host, once namespaces and mounts are there       a failure ends create
    createContainer            the host's program in the container's namespaces,       a failure ends create
                               before pivot_root
    startContainer             the container's program, by its init, before its own    a failure ends start
    poststart                  on the host, once the program runs                      a failure ends start
    poststop                   on the host, once the container is deleted              a failure is warned of

Each reads the container's state on its standard input; what it writes is told if it fails. It inherits no other descriptor.
Imported only for specs that have hooks, before the fork.
"""

from __future__ import annotations

import _signal
import os
import select
import time

from cratebox import jsontext
from cratebox.errors import RuntimeFailure
from cratebox.linux import namespaces, process
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from cratebox.runtime.spec import Hook

    Spawn = Callable[[Hook, int, int], int]  # with its standard input and its output: the pid

_MOST_OUTPUT = 2048  # bytes of what a hook wrote, the end of it
_ALL_SIGNALS = tuple(number for number in range(1, _signal.NSIG) if number not in {9, 19, 32, 33})


def run(kind: str, hooks: tuple[Hook, ...], state: dict[str, Any], spawn: Spawn | None = None) -> None:
    """Run `hooks` in their order, on the host unless `spawn` says how; raise RuntimeFailure for the first that fails."""
    for number, hook in enumerate(hooks):
        problem = _run(hook, state, spawn)
        if problem:
            raise RuntimeFailure(f"hook {kind}[{number}], {ascii(hook.path)[1:-1]}: {problem}")


def run_all(kind: str, hooks: tuple[Hook, ...], state: dict[str, Any]) -> list[str]:
    """Run all of `hooks`, whether they fail or not; return a line for each that does."""
    problems = []
    for number, hook in enumerate(hooks):
        problem = _run(hook, state, None)
        if problem:
            problems.append(f"hook {kind}[{number}], {ascii(hook.path)[1:-1]}: {problem}")
    return problems


def _run(hook: Hook, state: dict[str, Any], spawn: Spawn | None) -> str | None:
    """Run one hook; return what was wrong."""
    before = None if spawn else _children()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    stdin = -1
    try:
        stdin = _text_file(jsontext.dumps(state).encode())
        if before is not None:  # what a hook orphans becomes our child, so that none of it outlives its time
            process.set_subreaper(True)
        pid = (spawn or spawn_on_host)(hook, stdin, writing)
        os.close(writing)
        writing = -1
        return _wait(pid, reading, hook.timeout, before)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    finally:
        if before is not None:
            process.set_subreaper(False)
        for fd in (reading, writing, stdin):
            if fd >= 0:
                os.close(fd)


def _text_file(text: bytes) -> int:
    """Return a file with `text`. A pipe could fill up, and a hook need not read it."""
    fd = os.memfd_create("state", os.MFD_CLOEXEC)
    while text:
        text = text[os.write(fd, text) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def spawn_on_host(hook: Hook, stdin: int, output: int) -> int:
    """Execute a hook on the host, in a session of its own. Its environment is ours where the spec gives none, as with runc."""
    process.close_on_exec_from(3)  # those of our caller; the container's process has got them
    streams = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, output, output))]
    env = dict(entry.partition("=")[::2] for entry in hook.env) if hook.env else os.environ
    return os.posix_spawn(
        hook.path, hook.args or (hook.path,), env, file_actions=streams, setsid=True, setsigmask=(), setsigdef=_ALL_SIGNALS
    )


def spawn_inside(become: Callable[[Hook], NoReturn], keep: tuple[int, ...]) -> Spawn:
    """Return what runs a hook as `become` does it, which executes the program by a stub and so needs the descriptors `keep`.

    For a program of the container's: it must not be executed by the host's interpreter itself (CVE-2019-5736).
    """

    def spawn(hook: Hook, stdin: int, output: int) -> int:
        pid, pidfd = namespaces.clone(0)
        if pid:
            os.close(pidfd)
            return pid
        try:
            os.setsid()
            for number, fd in enumerate((stdin, output, output)):
                os.dup2(fd, number, inheritable=True)
            process.close_from(3, keep)
            become(hook)
        except BaseException as error:  # noqa: BLE001  nobody else would tell
            os.write(2, str(error).encode(errors="replace"))
        finally:
            os._exit(127)

    return spawn


def _wait(pid: int, output: int, timeout: int | None, before: set[int] | None) -> str | None:
    """Wait for the end of a hook, at most `timeout` seconds; return what was wrong."""
    deadline = time.monotonic() + timeout if timeout else None
    said = b""
    os.set_blocking(output, False)
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        for fd in (pidfd, output):
            poll.register(fd, select.POLLIN)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            ready = dict(poll.poll(None if left is None else max(0, int(left * 1000) + 1)))
            if output in ready:
                said, ended = _read(output, said)
                if ended:
                    poll.unregister(output)
            if pidfd in ready:
                return _verdict(os.waitpid(pid, 0)[1], said)
            if left is not None and left <= 0:
                _kill(pid, before)
                return f"it did not end within {timeout} seconds and was killed" + _quoted(said)
    finally:
        os.close(pidfd)


def _read(output: int, said: bytes) -> tuple[bytes, bool]:
    """Add to `said` what there is to read now; tell whether that was the end."""
    for _ in range(16):  # a pipe's worth; what the hook has left running may write for ever
        try:
            part = os.read(output, 4096)
        except BlockingIOError:
            break
        if not part:
            return said, True
        said = (said + part)[-_MOST_OUTPUT:]
    return said, False


def _verdict(status: int, said: bytes) -> str | None:
    if not status:
        return None
    how = f"it was killed by signal {status & 0x7F}" if status & 0x7F else f"it ended with {status >> 8}"
    return how + _quoted(said)


def _quoted(said: bytes) -> str:
    text = said.decode(errors="replace").strip()
    return f": {text}" if text else ""


def _kill(pid: int, before: set[int] | None) -> None:
    """Kill a hook that is not reaped yet, its session, and what has left that and is our child by now."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, 9)
        except ProcessLookupError:
            pass  # it has not come to its setsid
    os.waitpid(pid, 0)
    while before is not None and (new := _children() - before):
        for one in new:
            os.kill(one, 9)
            os.waitpid(one, 0)


def _children() -> set[int]:
    """Return our children, as far as this kernel tells (CONFIG_PROC_CHILDREN)."""
    try:
        return {int(word) for word in read_text("/proc/thread-self/children").split()}
    except OSError:
        return set()
