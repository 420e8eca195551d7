"""/dev/net/tun for an ordinary user: udev makes it everybody's, a small virtual machine may not.

A node of the test's own, mode 0666, is mounted over it in a private mount namespace; who runs there steps down to the user.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

TUN = Path("/dev/net/tun")


def why_not() -> str | None:
    """Say why there cannot be one, or return None."""
    if not TUN.exists():
        return "there is no /dev/net/tun: modprobe tun"
    if os.geteuid() and not os.access(TUN, os.R_OK | os.W_OK):
        return "/dev/net/tun is closed to this user, and only root could open it for a test"
    return None


def prefix(directory: Path, uid: int, gid: int) -> tuple[str, ...]:
    """Return the words of a program that runs what follows them as this user, with /dev/net/tun open to him."""
    if os.geteuid():
        return ()
    return (*around(directory), "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")


def around(directory: Path) -> tuple[str, ...]:
    """Return the words of a program that runs what follows them as root, where /dev/net/tun is open to everybody.

    The node is made in `directory`, which has to be on a file system that takes devices.
    """
    node = directory / "tun"
    if not node.exists():
        os.mknod(node, stat.S_IFCHR | 0o666, TUN.stat().st_rdev)
        node.chmod(0o666)
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", f'mount --bind "$0" {TUN} && exec "$@"', str(node))
