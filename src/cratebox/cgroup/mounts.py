"""Where the cgroup hierarchies are mounted: /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7))."""

from __future__ import annotations

from cratebox.linux.procfs import read_text
from cratebox.record import Record


class Unified(Record):
    """cgroup v2: `mountpoint`, the cgroup that is mounted there (`root`), and the one that this process is in (`own`)."""

    mountpoint: str
    root: str
    own: str


def find(mountinfo: str | None = None, membership: str | None = None) -> tuple[tuple[tuple[str, str], ...], Unified | None]:
    """Return the v1 hierarchies as ((controllers, mountpoint), ...), and cgroup v2 or None; read-only mounts left out.

    The texts are those of /proc/self/mountinfo and /proc/self/cgroup, read where not given. Raises OSError.
    """
    if mountinfo is None:
        mountinfo = read_text("/proc/self/mountinfo")
    mounts = [found for line in mountinfo.split("\n") if " - cgroup" in line and (found := _mount(line))]
    own = {}
    for line in (read_text("/proc/self/cgroup") if membership is None else membership).splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    hierarchies = []
    for controllers in own:
        if not controllers:
            continue
        wanted = set(controllers.split(","))
        place = next((where for kind, where, _, options in mounts if kind == "cgroup" and wanted <= options), None)
        if place:
            hierarchies.append((controllers, place))
    unified = next(
        (Unified(mountpoint=where, root=root, own=own.get("", "/")) for kind, where, root, _ in mounts if kind == "cgroup2"),
        None,
    )
    return tuple(hierarchies), unified


def _mount(line: str) -> tuple[str, str, str, set[str]] | None:
    """Return (type, mountpoint, root, options of the file system) of a line of mountinfo; None for a read-only mount.

    36 35 98:0 /root /mountpoint rw,noatime master:1 - cgroup cgroup rw,memory
    """
    head, _, tail = line.partition(" - ")
    fields, system = head.split(" "), tail.split(" ")
    if system[0] not in {"cgroup", "cgroup2"} or "rw" not in fields[5].split(","):
        return None
    return system[0], _plain(fields[4]), _plain(fields[3]), set(system[2].split(","))


def _plain(path: str) -> str:
    r"""Undo the kernel's octal escapes (\040 for a space)."""
    if "\\" not in path:
        return path
    first, *rest = path.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
