"""linux.intelRdt: classes of service of the processor's caches and memory bandwidth (config-linux.md, IntelRdt;
Documentation/filesystems/resctrl.rst). Only specs that have it import this.

A class of service is a directory of the resctrl file system, and a group to monitor one below mon_groups in it. What is made
for a container is removed with it; a class that the spec names stays.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, NotFound, RuntimeFailure, Unsupported
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import IntelRdt


def find() -> str:
    """Return where resctrl is mounted. Raises Unsupported."""
    for line in read_text("/proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "resctrl":
            return fields[4]
    raise Unsupported(
        "linux.intelRdt: no resctrl file system is mounted",
        "where processor and kernel have it: mount -t resctrl resctrl /sys/fs/resctrl",
    )


def join(wanted: IntelRdt, name: str, pid: int, mounted: str) -> tuple[str, ...]:
    """Put process `pid` of the container `name` into its class of service below `mounted`, making that where it is to be made.

    Return the directories that go with the container. Raises InvalidValue, NotFound, RuntimeFailure; nothing is left then.
    """
    lines = _schemata(wanted)
    group = f"{mounted}/{wanted.clos_id or name}"
    made: list[str] = []
    try:
        if _make(group, wanted, bool(lines)) and not wanted.clos_id:
            made.append(group)
        elif lines and group not in made:
            _compare(group, lines)
        if _is_monitored(wanted):
            made.insert(0, f"{group}/mon_groups/{name}")
            os.mkdir(made[0])
        follow(wanted, name, pid, mounted)
    except BaseException as error:
        remove(tuple(made))
        if isinstance(error, OSError):
            raise RuntimeFailure(f"cannot apply linux.intelRdt: {error.filename or group}: {error.strerror}") from None
        raise
    return tuple(made)


def change(wanted: IntelRdt, name: str, pid: int, mounted: str) -> tuple[str, ...]:
    """Write the schemata of `wanted` to the class of service of the container `name`,
    whose process `pid` gets one if it has none.

    Return the directory that was made for it. Raises RuntimeFailure.
    """
    group = f"{mounted}/{wanted.clos_id or name}"
    try:
        if not os.path.isdir(group):
            return join(wanted, name, pid, mounted)
        _write_schemata(group, wanted)
    except OSError as error:
        raise RuntimeFailure(f"cannot change linux.intelRdt: {error.strerror}{_last_status(mounted)}") from None
    return ()


def follow(wanted: IntelRdt, name: str, pid: int, mounted: str) -> None:
    """Put a further process of the container `name` where its first one is. Raises OSError."""
    group = f"{mounted}/{wanted.clos_id or name}"
    _write(f"{group}/tasks", str(pid))
    if _is_monitored(wanted):  # after that: it takes none of another class
        _write(f"{group}/mon_groups/{name}/tasks", str(pid))


def _is_monitored(wanted: IntelRdt) -> bool:
    return wanted.enable_monitoring or wanted.enable_cmt or wanted.enable_mbm


def _make(group: str, wanted: IntelRdt, configured: bool) -> bool:
    """Make the directory of a class of service and write its schemata; say whether it was made."""
    if os.path.isdir(group):
        return False
    if wanted.clos_id and not configured:
        raise NotFound(
            f"linux.intelRdt.closID {wanted.clos_id!a}: there is no such class of service, and the spec configures none"
        )
    os.mkdir(group)
    try:
        _write_schemata(group, wanted)
    except OSError as error:
        said = _last_status(os.path.dirname(group))
        os.rmdir(group)
        raise RuntimeFailure(f"cannot write the schemata of linux.intelRdt: {error.strerror}{said}") from None
    return True


def _write_schemata(group: str, wanted: IntelRdt) -> None:
    for text in (_combined(wanted), "\n".join(wanted.schemata)):
        if text:
            _write(f"{group}/schemata", text + "\n")


def _combined(wanted: IntelRdt) -> str:
    """Return both of the older properties together; a line for bandwidth is that of memBwSchema."""
    cache = wanted.l3_cache_schema.split("\n") if wanted.l3_cache_schema else []
    if wanted.mem_bw_schema:
        cache = [line for line in cache if not line.startswith("MB:")] + [wanted.mem_bw_schema]
    return "\n".join(cache)


def _schemata(wanted: IntelRdt) -> list[str]:
    return [line for line in (*_combined(wanted).split("\n"), *wanted.schemata) if line]


def _compare(group: str, lines: list[str]) -> None:
    """What a class of service is that was there before must be what the spec says."""
    there = {_normal(line) for line in read_text(f"{group}/schemata").splitlines()}
    for line in lines:
        for part in line.split("\n"):
            if part and not _normal(part) <= frozenset().union(*there):
                raise InvalidValue(f"linux.intelRdt: the class of service {os.path.basename(group)} is there, without {part!a}")


def _normal(line: str) -> frozenset[tuple[str, str, int | str]]:
    """Return the parts of a line as "L3:0=00ff;1=f0": resource, domain and value, whatever zeros a mask begins with."""
    resource, _, domains = line.strip().partition(":")
    parts: set[tuple[str, str, int | str]] = set()
    for one in domains.split(";"):
        domain, _, value = one.strip().partition("=")
        try:
            parts.add((resource, domain, int(value, 10 if resource.startswith("MB") else 16)))
        except ValueError:
            parts.add((resource, domain, value))
    return frozenset(parts)


def _last_status(mounted: str) -> str:
    """The kernel's own words about what it refused last."""
    try:
        return f" ({read_text(mounted + '/info/last_cmd_status').strip()})"
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def remove(made: tuple[str, ...]) -> None:
    """Remove the directories that `join` made. One that is gone already is no error. Raises OSError."""
    for path in made:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
