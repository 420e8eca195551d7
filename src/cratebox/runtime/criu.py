"""criu: the program that writes processes to files and makes them again (criu(8)), spoken to by its RPC.

    checkpoint.py, restore.py          criu swrk FD
    -------------------------          ------------
    fork: prepare(), execve ---------> reads one request from the socket FD
    request ------------------------->
             <------------------------ a notification: what it is about to do, perhaps with a descriptor
    reply --------------------------->
             ...
             <------------------------ the answer

It dies with whoever started it. What it does is in a log of its own, of which the last errors are told where it fails.
"""

from __future__ import annotations

import _signal
import _socket
import os
import select

from cratebox.errors import CrateError, RuntimeFailure, Unsupported
from cratebox.linux import const, fdpass, namespaces, process
from cratebox.linux.regular import read_regular
from cratebox.runtime import criu_messages as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cratebox.runtime.criu_messages import Answer, Value

    Notified = Callable[[Answer, tuple[int, ...]], None]

_SIGKILL, _SHUT_WR = 9, 1
_MILLISECONDS_TO_END = 30_000
_MOST_OF_LOG = 256 << 20  # bytes
_MOST_ERRORS = 3  # lines of the log
_HINT = "install criu (Debian: apt-get install criu), or name its program with --criu"


def find(program: str) -> str:
    """Return the path of a criu that says it works on this machine. Raises Unsupported."""
    import shutil

    if os.geteuid() or not _is_machines_root():
        raise Unsupported(
            "checkpoint and restore are root's: criu needs rights over the whole machine that no user namespace gives"
        )
    path = shutil.which(program)
    if path is None:
        raise Unsupported(f"checkpoint and restore need {program}, which is not installed", _HINT)
    if problem := check(path):
        raise Unsupported(
            f"{path} does not work on this machine: {problem}", "criu check says more; another kernel or criu may do"
        )
    return os.path.abspath(path)


def _is_machines_root() -> bool:
    from cratebox.linux import userns

    return userns.is_first()


def check(path: str) -> str | None:
    """Return what `criu check` has against this machine, in its own words; None where it is content."""
    import subprocess

    try:
        done = subprocess.run(
            [path, "check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment(),
        )
    except OSError as error:
        return error.strerror or str(error)
    if not done.returncode:
        return None
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    wrong = [line for line in said if "Error" in line] or said
    return _plain(wrong[-1]) if wrong else f"criu check ended with {done.returncode}"


def environment() -> dict[str, str]:
    """Return criu's environment. Without HOME where that is another user's, as behind some sudo: criu would obey the
    .criu/default.conf there, which can name programs to run.
    """
    found = dict(os.environ)
    try:
        owner = os.stat(found.get("HOME", "/")).st_uid
    except OSError:
        owner = -1
    if owner != os.geteuid():
        found.pop("HOME", None)
    return found


def is_usable(program: str) -> bool:
    """Tell whether containers can be checkpointed here."""
    try:
        find(program)
    except Unsupported:
        return False
    return True


class Session:
    """One criu that takes one request. It runs once `prepare`, in its own process, has done what it is to find.

    `keep` are descriptors that it inherits under their numbers, beside the standard streams: those that a request names are
    looked up in the process that made the socket, which therefore is criu's own. `forked` is called here meanwhile, with the
    pid. Raises RuntimeFailure, and what `forked` raises.
    """

    def __init__(
        self, program: str, prepare: Callable[[], None], keep: tuple[int, ...] = (), forked: Callable[[int], None] | None = None
    ) -> None:
        first, theirs = fdpass.pair()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        try:
            self.pid, self._pidfd = namespaces.clone(0)
            if not self.pid:
                _become(program, prepare, parent, writing, keep, theirs)
        except BaseException:
            first.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            os.close(writing)
        self._sock: Any = None
        try:
            with os.fdopen(reading, "rb") as pipe:
                if forked:
                    forked(self.pid)
                problem = pipe.read()
            if problem:
                raise RuntimeFailure(problem.decode(errors="replace"))
            _word, fds = fdpass.receive(first)
            if len(fds) != 1:
                raise RuntimeFailure("criu died before it began")
            self._sock = _socket.socket(fileno=fds[0])
        except BaseException:
            self.close()
            raise
        finally:
            first.close()

    def ask(self, kind: int, options: Mapping[str, Value | list[Value]], notified: Notified) -> Answer:
        """Send the request and answer notifications with what `notified` makes of them, until criu has done or failed.

        Raises RuntimeFailure where criu ends without an answer, and what `notified` raised: criu has given up then.
        """
        failed: BaseException | None = None
        try:
            fdpass.send(self._sock, messages.request(kind, options))
            while True:
                raw, fds = fdpass.receive(self._sock)
                if not raw:
                    raise failed or RuntimeFailure("criu ended without an answer")
                said = messages.answer(raw)
                if said.kind != messages.NOTIFY:
                    break
                try:
                    notified(said, fds)
                except BaseException as error:  # noqa: BLE001  criu has to hear of it, then it is raised
                    failed = error
                fdpass.send(self._sock, messages.reply(failed is None))
        except OSError as error:
            raise failed or RuntimeFailure(f"criu is gone: {error.strerror}") from None
        if failed:
            raise failed
        return said

    def close(self) -> None:
        """End criu, if it has not ended by itself, and reap it."""
        if self._sock:
            self._sock.close()
        try:
            process.send_signal(self._pidfd, _SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self._pidfd)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def wait(self) -> None:
        """Let criu come to its end: after its answer it clears away what it has made for itself."""
        self._sock.shutdown(_SHUT_WR)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(_MILLISECONDS_TO_END)


def _become(
    program: str, prepare: Callable[[], None], parent: int, report: int, keep: tuple[int, ...], parents: _socket.socket
) -> None:
    """Become criu; what keeps this process from it goes to the pipe `report`. Does not return."""
    try:
        process.prctl("PR_SET_PDEATHSIG", const.PR_SET_PDEATHSIG, _SIGKILL)  # stays over execve(2)
        if os.getppid() != parent:
            os._exit(127)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
        prepare()
        process.close_on_exec_from(3)
        ours, theirs = fdpass.pair()
        fdpass.send(parents, b"!", (theirs.fileno(),))
        for fd in (ours.fileno(), *keep):
            os.set_inheritable(fd, True)
        os.execve(program, [program, "swrk", str(ours.fileno())], environment())  # noqa: S606
    except CrateError as error:
        os.write(report, error.message.encode())
    except BaseException as error:  # noqa: BLE001  nobody else would tell
        os.write(report, f"cannot start criu: {getattr(error, 'strerror', None) or error}".encode(errors="replace"))
    finally:
        os._exit(127)


def failure(what: str, log: str, reason: str = "") -> RuntimeFailure:
    """Return the error for a criu that has failed, with the last errors of its log."""
    said = _errors(log)
    told = "; ".join(said[-_MOST_ERRORS:]) or reason or "it says not why"
    return RuntimeFailure(f"criu cannot {what}: {told}", f"all that criu did is in {log}")


def _errors(log: str) -> list[str]:
    try:
        text = read_regular(log, _MOST_OF_LOG).decode(errors="replace")
    except OSError:
        return []
    return [_plain(line) for line in text.splitlines() if "Error (" in line]


def _plain(line: str) -> str:
    """Return a line of criu's without its time, its source file and what could trouble a terminal."""
    _before, found, rest = line.partition("Error (")
    if found and "): " in rest:
        line = rest.partition("): ")[2]
    return ascii(line.strip())[1:-1]
