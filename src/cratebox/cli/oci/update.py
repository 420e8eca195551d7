"""crate-oci update."""

from __future__ import annotations

import sys

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cli.oci.caller import Caller

_MOST = 1 << 20  # bytes of a document
# The property of linux.resources that each flag sets (config-linux.md), and whether its value is a number.
_PROPERTIES = {
    "blkio-weight": ("blockIO", "weight", True),
    "cpu-period": ("cpu", "period", True),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-burst": ("cpu", "burst", True),
    "cpu-share": ("cpu", "shares", True),
    "cpu-rt-period": ("cpu", "realtimePeriod", True),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", True),
    "cpu-idle": ("cpu", "idle", True),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "pids-limit": ("pids", "limit", True),
}
COMMAND = Command(
    name="update",
    arguments=ID,
    summary="Change the limits of a container",
    flags=(
        Flag(
            "resources", "r", "FILE", "read linux.resources of a spec as JSON from FILE, - is standard input", completes="file"
        ),
        Flag("blkio-weight", metavar="N", help="weight of its block I/O, 10 to 1000"),
        Flag("cpu-period", metavar="MICROSECONDS", help="the period that --cpu-quota is for"),
        Flag("cpu-quota", metavar="MICROSECONDS", help="time on CPUs in each period, -1 for any"),
        Flag("cpu-burst", metavar="MICROSECONDS", help="unused time that may be used in a later period"),
        Flag("cpu-share", metavar="N", help="weight against others on CPUs"),
        Flag("cpu-rt-period", metavar="MICROSECONDS", help="the period that --cpu-rt-runtime is for"),
        Flag("cpu-rt-runtime", metavar="MICROSECONDS", help="time of real-time processes in each period"),
        Flag("cpu-idle", metavar="0|1", help="1: run only where nobody else wants to"),
        Flag("cpuset-cpus", metavar="LIST", help="the CPUs it may use, as 0-3,7"),
        Flag("cpuset-mems", metavar="LIST", help="the memory nodes it may use, as 0-3,7"),
        Flag("memory", metavar="BYTES", help="most memory, as 67108864 or 64m, -1 for any"),
        Flag("memory-reservation", metavar="BYTES", help="memory that is left to it where memory is scarce"),
        Flag("memory-swap", metavar="BYTES", help="most memory and swap together, -1 for any"),
        Flag("pids-limit", metavar="N", help="most processes, -1 for any"),
        Flag("l3-cache-schema", metavar="SCHEMA", help="its part of the L3 cache, as L3:0=f;1=f0 (resctrl)"),
        Flag("mem-bw-schema", metavar="SCHEMA", help="its part of the memory bandwidth, as MB:0=20;1=70 (resctrl)"),
    ),
    least=1,
    most=1,
    completes="container",
    description="Change limits of a container that is there. With --resources the other flags do not count.",
    examples=(
        ("crate-oci update --memory 64m --memory-swap -1 box", "64 MiB of memory and any swap"),
        ("""echo '{"pids":{"limit":10}}' | crate-oci update -r - box""", "as engines do it"),
    ),
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Change them."""
    from cratebox.runtime import lifecycle

    name, path = words.arguments[0], words.text("resources")
    resources = _read(path) if path else _of_flags(words)
    cache, bandwidth = (words.text(flag) or "" for flag in ("l3-cache-schema", "mem-bw-schema"))
    if cache or bandwidth:
        lifecycle.update_rdt(who.root, name, cache, bandwidth)
    if resources or not (cache or bandwidth):
        lifecycle.update(who.root, name, resources)
    return 0


def _read(path: str) -> Any:
    """Return the parsed document in `path`. Raises InvalidValue."""
    from cratebox import jsontext
    from cratebox.linux.regular import read_regular

    name = "standard input" if path == "-" else path
    try:
        raw = sys.stdin.buffer.read(_MOST + 1) if path == "-" else read_regular(path, _MOST, pipe=True)
        if len(raw) > _MOST:
            raise InvalidValue(f"{name} is larger than 1 MiB")
        return jsontext.loads(raw)
    except OSError as error:
        raise InvalidValue(f"cannot read {name}: {(error.strerror or '').lower()}") from None
    except jsontext.JSONError as error:
        raise InvalidValue(f"{name}: {error}") from None


def _of_flags(words: Words) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for flag, (group, name, is_number) in _PROPERTIES.items():
        if words.given(flag):
            value: int | str | None = words.number(flag, -1) if is_number and group != "memory" else words.text(flag)
            resources.setdefault(group, {})[name] = _size(flag, str(value)) if group == "memory" else value
    return resources


def _size(flag: str, text: str) -> int:
    """Return bytes; -1 is no limit. Raises InvalidValue."""
    from cratebox.engine.words import size

    return -1 if text == "-1" else size(text, f"--{flag}")
