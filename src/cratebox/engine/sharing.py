"""Whether what a container mounts below a directory could reach the host: the propagation of its mount."""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux import const
from cratebox.linux.procfs import read_text


def check_shared(source: str, target: str) -> None:
    """Raise InvalidValue unless `source` is on a shared mount (proc(5), fdinfo and mountinfo), as Docker does; Unsupported for
    an ordinary user, in whose user namespace nothing of the host's can be shared.
    """
    if os.geteuid() != 0:
        raise Unsupported(
            f"cannot share {source} at {target}: without root, mounts made in a container do not reach the host",
            "rslave brings the host's in",
        )
    row = _mount_of(source)
    if not any(field.startswith("shared:") for field in row[6 : row.index("-")]):
        raise InvalidValue(
            f"cannot share {source} at {target}: it is on the mount {row[4]}, which is not a shared one",
            f"as root: mount --make-shared {row[4]}",
        )


def _mount_of(path: str) -> list[str]:
    """Return the fields of the mountinfo line of the mount that `path` is on."""
    fd = os.open(path, const.O_PATH | os.O_CLOEXEC)
    try:
        info = read_text(f"/proc/self/fdinfo/{fd}")
    finally:
        os.close(fd)
    number = next(line.split()[1] for line in info.splitlines() if line.startswith("mnt_id:"))
    return next(line.split() for line in read_text("/proc/self/mountinfo").splitlines() if line.split(" ", 1)[0] == number)
