"""One small process per running container: its parent, which starts it, keeps its output, and writes down how it ended.

supervisor.py       the process itself: forked by a command, it lets go of all that was the command's
life.py             the container's runs, one after the other, and what goes along with them (part.py)
running.py          one run: begun, kept, ended
vigil.py            how the end of its first process is learnt
loop.py             what it waits for
pump.py             the output
client.py           who is attached; what they say to each other is drawn in dialogue.py
control.py          the door, for those who come later
guardian.py         what is above it; guardian_watch.py sees to it that there is always one
"""

from __future__ import annotations

import _signal
import gc
import os
import time

from cratebox.engine import custody, exits, guardian
from cratebox.engine.client import Client
from cratebox.engine.dialogue import ERROR, Watch, pack_error
from cratebox.engine.life import Life
from cratebox.engine.vanishing import vanish
from cratebox.errors import CrateError, OverlayRefused, RuntimeFailure
from cratebox.linux import fdpass, lock, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn


def fork(watch: Watch, sock: _socket.socket, client_sock: _socket.socket) -> int:
    """Fork the supervisor and its guardian; return the guardian's pid. `sock` is the supervisor's end of the dialogue, the other
    one the client's.
    """
    pid = os.fork()
    if pid == 0:
        try:
            client_sock.close()
            _serve(watch, sock)
        finally:
            os._exit(125)
    return pid


def _leave_caller() -> None:
    """Let go of what the caller of a start has: his directory and his handlers of signals. His session is left already."""
    os.chdir("/")  # it could not be unmounted
    process.set_name("crate-supervisor")
    restore_signals()


def restore_signals() -> None:
    """Signals that the caller had blocked or taken over must find the container's processes as execve(2) expects them."""
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _serve(watch: Watch, sock: _socket.socket) -> NoReturn:
    """Supervise the container until there is nothing more to do, then end this process."""
    code = 125
    try:
        wish = watch.wish
        os.setsid()
        kept = custody.new()
        busy = guardian.divide(guardian.ward_of(watch), kept)
        given = (*wish.stdio, *wish.held, *wish.trees.values(), *watch.ports)
        ours = (sock.fileno(), watch.lock, watch.stdin, *watch.output, *watch.holds, *given, *kept.descriptors, busy)
        output = _output(watch.attached)
        guardian.let_go_of_standard_streams(ours)
        _close_others((*ours, *output.values()))
        client = Client(sock, output, watch.attached)
        life = Life(watch, kept, [client], busy=busy)
        _leave_caller()
        gc.enable()  # a long life from here on
        code = keep(life, life.live)
    except BaseException as error:  # noqa: BLE001  there is nobody above: say it and end
        try:
            fdpass.send(sock, ERROR + f"{type(error).__name__}\0the supervisor failed: {error!r}\0".encode())
        except OSError:
            pass
    finally:
        os._exit(code)


def _output(attached: bool) -> dict[str, int]:
    """Return where the client wants the container's streams: each a descriptor of its own, since poll(2) tells them apart."""
    output = {}
    if attached:
        for name, number in (("stdout", 1), ("stderr", 2)):
            try:
                output[name] = os.dup(number)
            except OSError:
                continue  # it is closed
    return output


def _close_others(ours: tuple[int, ...]) -> None:
    """What the caller had open is not ours to hold: who reads from such a pipe, or waits for such a lock, waits for its end.

    Objects that believe one of these descriptors to be theirs must never be collected: they would close what is open under
    the same number by then.
    """
    gc.freeze()
    process.close_from(3, ours)


def keep(life: Life, go_on: Callable[[], None]) -> int:
    """Call `go_on`, which lives that life. Where a start fails, write down why, and tell who waits for it. Return an exit code."""
    try:
        go_on()
    except (CrateError, OSError, MemoryError) as failed:
        error = failed if isinstance(failed, CrateError) else RuntimeFailure(f"the container's supervisor failed: {failed}")
        watch_failed(life.watch, error, life.before)
        lock.release(life.watch.lock)  # before the client hears of it: it may start or remove the container at once
        life.custody.hold({})
        for client in life.clients:
            client.say(pack_error(error))
        return error.exit_code
    return 0


def watch_failed(watch: Watch, error: CrateError, before: exits.Exit | None) -> None:
    """Write down why the container did not start, or remove it where it was to be removed. One that has run `before` has."""
    if isinstance(error, OverlayRefused):
        return  # it will be tried in another way
    try:
        if watch.remove:
            vanish(watch.container)()
        else:
            started_at = before.started_at if before else 0.0
            exits.write(watch.directory, exits.Exit(error.exit_code, started_at, time.time(), error.message))
    except (OSError, CrateError):
        pass  # the error that is being told counts
