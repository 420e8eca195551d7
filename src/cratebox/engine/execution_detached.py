"""`exec -d`, and a process whose terminal was left by the detach keys:
somebody holds that terminal, reaps, and tells of the end.

crate exec -d --fork--> --fork--> crate-exec: makes the process, says STARTED or what went wrong, stays until it has ended
      waits for the word, and ends
"""

from __future__ import annotations

import os

from cratebox.engine import dialogue, execution
from cratebox.engine.execution import Order
from cratebox.errors import CrateError, RuntimeFailure
from cratebox.image import detached
from cratebox.linux import fdpass
from cratebox.linux.process import waited_status
from cratebox.runtime import exec as runtime
from cratebox.runtime.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_NAME = "crate-exec"  # what ps shows


def start(order: Order) -> None:
    """Run the process, and return once its program runs. Raises what kept it from that."""
    ours, theirs = fdpass.pair()
    try:
        detached.run(lambda: _serve(order, theirs), theirs.fileno(), name=_NAME)
        theirs.close()
        message = fdpass.receive(ours)[0]
    finally:
        ours.close()
    if message[:1] == dialogue.ERROR:
        raise dialogue.unpack_error(message)
    if message != dialogue.STARTED:
        raise RuntimeFailure("the process that was to run the command died", "see dmesg: it may have been out of memory")


def _serve(order: Order, sock: _socket.socket) -> None:
    try:
        joined = runtime.begin(order.target, order.process, execution.settings_of(order.wanted))
    except (CrateError, OSError) as failed:
        error = failed if isinstance(failed, CrateError) else RuntimeFailure(f"cannot run the command: {failed.strerror}")
        fdpass.send(sock, dialogue.pack_error(error))
        return
    order.tell(f"exec_start: {' '.join(order.wanted.command)}")
    fdpass.send(sock, dialogue.STARTED)
    sock.close()
    _empty(joined.pidfd, joined.console)
    code = waited_status(os.waitpid(joined.pid, 0)[1])
    order.tell("exec_die", exitCode=str(code))


def hold(order: Order, joined: runtime.Joined) -> None:
    """Keep the terminal of a process that was left, so that it is not hung up. How it ends, nobody learns then."""

    def work() -> None:
        _empty(joined.pidfd, joined.console)

    order.tell("exec_detach")
    detached.run(work, joined.pidfd, joined.console, name=_NAME)


def _empty(pidfd: int, master: int) -> None:
    """Read what a terminal has to say, for nobody, until its process has ended."""
    never, _held = os.pipe()
    Streams(pidfd, ((master, -1),) if master >= 0 else (), master=master).run(never)
