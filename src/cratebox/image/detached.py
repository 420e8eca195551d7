"""Work after the work: a process that is nobody's child, for what the user need not wait for.

    caller --fork--> first --fork--> second: the work
      waits for it     lets go of all that is the caller's, and ends

When the caller goes on, nothing of it is held any more: no lock, no pipe, no terminal, no directory. It has no child that it
would have to reap, and whoever kills its group or closes its session does not mean this process.
"""

from __future__ import annotations

import os
import signal

from cratebox.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run(work: Callable[[], None], *keep: int, name: str = "crate-settle") -> None:
    """Run `work` in a process of its own, which holds the descriptors `keep` and no other. What it raises is told nobody.

    `name` is what ps shows.

    Raises OSError where there can be no more processes.
    """
    first = os.fork()
    if first == 0:
        try:
            _let_go(keep, name)
            if os.fork() == 0:
                work()
        finally:
            os._exit(0)
    try:
        os.waitpid(first, 0)
    except ChildProcessError:
        pass  # the caller ignores SIGCHLD, or reaps whatever ends


def _let_go(keep: tuple[int, ...], name: str) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)  # the handlers are the caller's
    os.chdir("/")
    process.close_from(0, keep)
    for _ in range(3):
        os.open("/dev/null", os.O_RDWR)
    process.set_name(name)
