"""SCMP_ACT_NOTIFY: the descriptor that decides call by call goes to its listener (config-linux.md, The Container Process
State).

The filter is loaded by the container's process itself, which sends the descriptor to its parent,
and the parent to the listener.
"""

from __future__ import annotations

from cratebox import jsontext
from cratebox.errors import RuntimeFailure
from cratebox.runtime.spec import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.runtime.spec import Seccomp

_PATIENCE = 10.0  # seconds, for a listener that accepts nobody or does not read


def is_wanted(seccomp: Seccomp) -> bool:
    """Say whether a profile has a rule that asks a listener."""
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)


def send(seccomp: Seccomp, state: dict[str, Any], pid: int, fd: int) -> None:
    """Send the descriptor `fd` of the filter of process `pid`, as we see it, to the profile's listenerPath.

    `state` is the container's (runtime.md, State). One message a connection. Raises RuntimeFailure.
    """
    import _socket
    import struct

    told: dict[str, Any] = {"ociVersion": VERSION, "fds": ["seccompFd"], "pid": pid}
    if seccomp.listener_metadata:
        told["metadata"] = seccomp.listener_metadata
    text = jsontext.dumps(told | {"state": state}).encode()
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        try:
            sock.settimeout(_PATIENCE)
            sock.connect(seccomp.listener_path)
            sent = sock.sendmsg([text], [rights])
            sock.sendall(text[sent:])
        finally:
            sock.close()
    except OSError as error:
        raise RuntimeFailure(
            f"cannot send the filter of system calls to {seccomp.listener_path!a}: {error.strerror or error}",
            "linux.seccomp.listenerPath is the socket of the program that answers for SCMP_ACT_NOTIFY: it must run",
        ) from None
