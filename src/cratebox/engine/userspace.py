"""Work done inside of the user's namespace, where the IDs of his containers are ones he may give and take."""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure, Unsupported
from cratebox.linux import const, namespaces, process, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.idmaps import Identity


def runner(identity: Identity) -> Callable[[Callable[[], bytes]], bytes]:
    """Return what runs a callable in a process that is root of the identity's user namespace, and returns its bytes."""

    def run_inside(work: Callable[[], bytes]) -> bytes:
        go_read, go_write = os.pipe()
        out_read, out_write = os.pipe()
        try:
            pid, pidfd = namespaces.clone(const.CLONE_NEWUSER)
        except OSError as error:
            raise Unsupported(f"cannot make a user namespace: {error.strerror}", userns.hint()) from None
        if pid == 0:
            os.close(go_write)
            os.close(out_read)
            _child(go_read, out_write, work)
        for fd in (pidfd, go_read, out_write):
            os.close(fd)
        try:
            _map(pid, identity)
            os.write(go_write, b"G")
        finally:
            os.close(go_write)
            with open(out_read, "rb") as file:
                answer = file.read()
            status = os.waitpid(pid, 0)[1]
        if status:
            raise RuntimeFailure(f"work in the user namespace ended with wait status {status}")
        return answer

    return run_inside


def _map(pid: int, identity: Identity) -> None:
    try:
        userns.map_ids(pid, identity.uids, identity.gids)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot write the ID maps of a user namespace: {error.strerror}",
            "check the user's ranges in /etc/subuid and /etc/subgid, and that newuidmap and newgidmap are set-user-ID root",
        ) from None


def _child(go_read: int, out_write: int, work: Callable[[], bytes]) -> None:
    code = 1
    try:
        if os.read(go_read, 1) != b"G":
            return
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        process.set_dumpable(True)  # its /proc/self is its own again
        rest = memoryview(work())
        while rest:
            rest = rest[os.write(out_write, rest) :]
        code = 0
    finally:
        os._exit(code)
