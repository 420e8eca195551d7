"""What a client and the supervisor of a container say to each other, over a socket that keeps the borders of messages.

    crate (client)                      supervisor                              container
    --------------                      ----------                              ---------
    Watch: what to start --------------> session of its own
                                         runtime.create, runtime.start -------> the program runs
         <------------------------------ STARTED (+ the terminal's master)
    signals, detaching ----------------> passed on                     ------->
                                         copies output: log, and the client's own standard output
         <------------------------------ BROKEN, where its standard output has been closed: it ends, as by SIGPIPE
         <------------------------------ UNWRITTEN fd errno, where that cannot be written to: it fails when all is over
         <------------------------------ EXITED code, after all is written
                                         with --rm: its files are deleted

Whoever comes later finds the supervisor at a socket (control.py):

    crate attach                        supervisor
    ------------                        ----------
    ATTACH (+ standard output, error) --> they get the container's output from here on
         <------------------------------ STARTED (+ the terminal's master, or the write end of its standard input)
    ... the rest is as above

    crate update                        supervisor
    ------------                        ----------
    CHANGED ---------------------------> reads again what goes along with its runs

    crate healthcheck run               supervisor
    ---------------------               ----------
    PROBE -----------------------------> runs the health command once, out of turn
         <------------------------------ its exit code

The client's standard output and error are written by the supervisor itself, through the descriptors that fork gave it, or that
came with ATTACH, so nothing is copied twice. The client may die at any moment: the container goes on, `--rm` is still kept.
"""

from __future__ import annotations

from cratebox import errors
from cratebox.engine.logs import LogWish
from cratebox.engine.vanishing import Removal
from cratebox.errors import CrateError, RuntimeFailure
from cratebox.record import Record
from cratebox.runtime.wish import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.volume_filling import Starting
    from cratebox.network.model import Reservation

STARTED, EXITED, ERROR, BROKEN, UNWRITTEN = b"S", b"X", b"E", b"P", b"W"
DETACH, SIGNAL, ATTACH, PROBE, CHANGED = b"D", b"K", b"A", b"H", b"U"


class Watch(Record):
    """All that a supervisor is told. Descriptors are its own, or -1."""

    container: Removal
    directory: str  # of the container
    state_directory: str
    wish: Wish
    remove: bool  # --rm: it goes when it has ended
    lock: int  # held
    stdin: int  # the write end of the container's standard input: somebody may attach later
    output: tuple[int, int]  # the read ends of its standard output and error
    holds: tuple[int, int, int, int]  # for what is on its way to the log, see holding.py
    attached: bool
    log: LogWish | None = LogWish()  # None: nowhere
    volumes: tuple[Starting, ...] = ()
    accompanied: bool = False  # something goes along with its runs, see parts.py
    network: Reservation | None = None  # what it has of networks, None where it can have none
    ports: tuple[int, ...] = ()  # what keeps other processes from its published ports
    pidfile: str = ""  # where the pid of each run's first process is written
    record: tuple[int, int] = (0, 0)  # what tells this version of container.json from later ones, see `records.version`


def pack_error(error: CrateError) -> bytes:
    """Return the message that carries `error` to the client."""
    return ERROR + "\0".join((type(error).__name__, error.message, error.hint or "")).encode(errors="replace")


def unpack_error(message: bytes) -> CrateError:
    """Return the error that an ERROR message carries."""
    name, text, hint = (message[1:].decode(errors="replace").split("\0") + ["", ""])[:3]
    found = getattr(errors, name, None)
    kind = found if isinstance(found, type) and issubclass(found, CrateError) else RuntimeFailure
    return kind(text, hint or None)
