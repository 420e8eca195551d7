"""`attach`: to stay with a container that runs already, as if one had started it."""

from __future__ import annotations

import os
import time

from cratebox.engine import attach, control, dialogue, events, records
from cratebox.engine.records import Container
from cratebox.errors import Conflict, RuntimeFailure
from cratebox.linux import fdpass, process
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_SECONDS_TO_OPEN, _PAUSE = 3.0, 0.02  # one that has just started, or whose supervisor has just been killed


def attach_to(
    paths: Paths, container: Container, stdin: bool = True, forward_signals: bool = True, detach_keys: bytes | None = None
) -> int | None:
    """Stay with a running container until it ends; return its exit code, None where the user detached.

    `stdin`: pass standard input on, where the container has one that is open. Raises Conflict where it does not run.
    """
    _check(paths, container)
    sock = _connect(paths, container)
    try:
        fdpass.send(sock, dialogue.ATTACH, (_open_or_null(1), _open_or_null(2)))
        events.emit(paths, "container", "attach", container.id, events.of_container(container))
        before = attach.block_signals()
        return attach.stay(
            attach.Attachment(
                sock=sock,
                tty=container.config.tty,
                interactive=stdin and container.config.interactive,
                forward_signals=forward_signals and process.is_main_thread(),
                detach_keys=attach.DETACH_KEYS if detach_keys is None else detach_keys,
                mask=before,
                late=True,
            )
        )
    finally:
        sock.close()


def _check(paths: Paths, container: Container) -> None:
    status = records.status(paths, container).status
    if status == "paused":
        raise Conflict(f"{container.name} is paused, not running", f"crate unpause {container.name}")
    if status == "restarting":
        raise Conflict(f"{container.name} is restarting, not running", f"crate wait --condition running {container.name}")
    if status != "running":
        raise Conflict(f"{container.name} is {status}, not running", f"crate start -a {container.name}")


def _connect(paths: Paths, container: Container) -> _socket.socket:
    deadline = time.monotonic() + _SECONDS_TO_OPEN
    while True:
        try:
            return control.connect(f"{paths.running}/{container.id}")
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if time.monotonic() > deadline or not records.is_locked(records.directory(paths, container.id)):
                _check(paths, container)
                raise RuntimeFailure(
                    f"cannot attach to {container.name}: its supervisor cannot be reached: {error.strerror}",
                    f"its directory of the state was deleted while it ran: crate restart {container.name}",
                ) from None
            time.sleep(_PAUSE)
        except OSError as error:
            raise RuntimeFailure(f"cannot attach to {container.name}: {error.strerror}") from None


def _open_or_null(fd: int) -> int:
    """Standard streams may be closed; nothing is to be written then."""
    try:
        os.fstat(fd)
    except OSError:
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    return fd
