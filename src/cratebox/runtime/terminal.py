"""The container's side of its terminal: made in the container's own devpts, so that no name of it leads to the host's.

The caller's side, what is done with its master, is console.py's.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, fdpass, mount, tty
from cratebox.linux.beneath import open_beneath, openat2
from cratebox.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.runtime.spec import Process

_NEEDS_DEVPTS = "the container needs a devpts at /dev/pts"


def make(sock: _socket.socket, root: int, who: Process, *, bind: bool) -> int:
    """Make a terminal in the devpts below `root`, send its master to the parent and return the slave. Raises RuntimeFailure.

    `bind`: it becomes the container's /dev/console.
    """
    try:
        master, slave, _number = tty.open_pair(_open_ptmx(root))
        if who.console_size:
            tty.set_size(master, who.console_size.height, who.console_size.width)
        if bind:
            _bind_console(root, slave)
        os.fchown(slave, who.user.uid, who.user.gid)
    except OSError as error:
        raise RuntimeFailure(f"cannot make a terminal: {error.strerror}", _NEEDS_DEVPTS) from None
    fdpass.send(sock, sync.CONSOLE, (master,))
    os.close(master)
    return slave


def _open_ptmx(root: int) -> int:
    """Open the multiplexer of the devpts at /dev/pts below `root`. Raises RuntimeFailure where it is none, OSError.

    What an image has there instead is looked at before it is opened: that alone may do something (CVE-2025-52565).
    """
    devpts = open_beneath(root, "dev/pts", const.O_PATH | os.O_DIRECTORY)
    try:
        # Nobody can make or rename anything in a devpts, and what is mounted there is not entered: the name stays what it is.
        # So it is opened by that, and not by /proc/self/fd: whose /proc it is, a process that joins a container cannot know.
        if mount.filesystem_type(devpts) != const.DEVPTS_SUPER_MAGIC:
            raise RuntimeFailure("cannot make a terminal: /dev/pts/ptmx is not that of a devpts file system", _NEEDS_DEVPTS)
        inside = const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS | const.RESOLVE_NO_XDEV
        return openat2(devpts, "ptmx", os.O_RDWR | os.O_NOCTTY, resolve=inside)
    finally:
        os.close(devpts)


def _bind_console(root: int, slave: int) -> None:
    dev = open_beneath(root, "dev", const.O_PATH | os.O_DIRECTORY)
    try:
        os.close(os.open("console", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o620, dir_fd=dev))
    except OSError:
        pass  # it is there as something that cannot be opened: what counts is the mount on top
    target = open_beneath(dev, "console")
    tree = mount.clone_tree(f"/proc/self/fd/{slave}", recursive=False)
    mount.attach(tree, target, "/dev/console")
    for fd in (tree, target, dev):
        os.close(fd)
