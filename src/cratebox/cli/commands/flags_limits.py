"""The flags that limit what a container may use. Those of LIMITS are `update`'s as well."""

from __future__ import annotations

from cratebox.cli.options import Flag, Words
from cratebox.engine import limit_words
from cratebox.engine.config import ContainerConfig, Limits
from cratebox.engine.limits import check
from cratebox.engine.ulimits import parse_ulimit
from cratebox.engine.words import shown, size
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GROUP = "Limits"

LIMITS = (
    Flag("memory", "m", "BYTES", "how much memory it may use, as 512m or 2g; 6m is the least", group=GROUP),
    Flag("memory-reservation", metavar="BYTES", help="what is left to it where memory is scarce", group=GROUP),
    Flag("memory-swap", metavar="BYTES", help="how much memory and swap together; -1 for any; twice --memory otherwise", group=GROUP),
    Flag("cpus", metavar="NUMBER", help="how much time on processors it gets, as 1.5", group=GROUP),
    Flag("cpu-shares", "c", "N", "its weight where processors are busy, 2 to 262144; 1024 is usual", group=GROUP),
    Flag("cpu-period", metavar="MICROSECONDS", help="the time that --cpu-quota is for; 100000 is usual", group=GROUP),
    Flag("cpu-quota", metavar="MICROSECONDS", help="time on processors in each period; -1 for any", group=GROUP),
    Flag("cpuset-cpus", metavar="LIST", help="the processors it may run on, as 0-2,4", group=GROUP),
    Flag("cpuset-mems", metavar="LIST", help="the memory nodes it may use, as 0,1", group=GROUP),
    Flag("pids-limit", metavar="N", help="how many processes it may have; -1 for any number", group=GROUP),
    Flag("blkio-weight", metavar="N", help="its weight where disks are busy, 10 to 1000", group=GROUP),
)  # fmt: skip

FLAGS = (
    *LIMITS,
    Flag("memory-swappiness", metavar="N", help="how readily its memory is swapped out, 0 to 100 (cgroup v1)", group=GROUP),
    Flag("oom-kill-disable", help="let it wait where memory is used up, and kill nothing (cgroup v1)", group=GROUP),
    Flag("oom-score-adj", metavar="N", help="how soon the kernel kills it for want of memory, -1000 (never) to 1000", group=GROUP),
    Flag("blkio-weight-device", metavar="PATH:N", help="its weight at one disk", repeat=True, group=GROUP),
    Flag("device-read-bps", metavar="PATH:BYTES", help="how much it may read from a disk in a second, as /dev/sda:1mb", repeat=True,
         group=GROUP),
    Flag("device-write-bps", metavar="PATH:BYTES", help="how much it may write to a disk in a second", repeat=True, group=GROUP),
    Flag("device-read-iops", metavar="PATH:N", help="how often it may read from a disk in a second", repeat=True, group=GROUP),
    Flag("device-write-iops", metavar="PATH:N", help="how often it may write to a disk in a second", repeat=True, group=GROUP),
    Flag("cgroup-conf", metavar="FILE=VALUE", help="what is written to a file of its cgroup (cgroup v2)", repeat=True, group=GROUP),
    Flag("cgroup-parent", metavar="PATH", help="the cgroup that its own is made in", group=GROUP),
    Flag("shm-size", metavar="BYTES", help="the size of /dev/shm, as 128m; 64m otherwise", group=GROUP),
    Flag("ulimit", metavar="NAME=SOFT[:HARD]", help="a limit of setrlimit(2), as nofile=1024:4096", repeat=True, group=GROUP),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with the limits that were typed. Raises InvalidValue."""
    limits = Limits(**typed(words), **_of_create(words))
    check(limits)
    score = words.text("oom-score-adj")
    return config.replace(
        limits=limits if limits != Limits() else None,
        ulimits=tuple(map(parse_ulimit, words.all("ulimit"))),
        cgroup_parent=_parent(words.text("cgroup-parent") or ""),
        shm_size=size(text, "--shm-size") or None if (text := words.text("shm-size")) else None,
        oom_score_adj=None if score is None else limit_words.ranged(score, "--oom-score-adj", -1000, 1000),
    )


def typed(words: Words, unlimited: bool = False) -> dict[str, Any]:
    """Return the fields of Limits that the flags of LIMITS give; `unlimited`: a limit may be taken away by -1."""
    found: dict[str, Any] = {}
    for flag, field, parse in (
        ("memory", "memory", lambda text: limit_words.memory(text, "--memory", unlimited)),
        ("memory-reservation", "memory_reservation", lambda text: limit_words.memory(text, "--memory-reservation", unlimited)),
        ("memory-swap", "memory_swap", lambda text: limit_words.memory(text, "--memory-swap", unlimited=True)),
        ("cpus", "nano_cpus", limit_words.nano_cpus),
        ("cpu-shares", "cpu_shares", lambda text: limit_words.positive(text, "--cpu-shares")),
        ("cpu-period", "cpu_period", lambda text: limit_words.positive(text, "--cpu-period")),
        ("cpu-quota", "cpu_quota", limit_words.quota),
        ("cpuset-cpus", "cpuset_cpus", str),
        ("cpuset-mems", "cpuset_mems", str),
        ("pids-limit", "pids", limit_words.pids),
        ("blkio-weight", "blkio_weight", lambda text: limit_words.weight(text, "--blkio-weight")),
    ):
        text = words.text(flag)
        if text:
            found[field] = parse(text)
    return found


def _of_create(words: Words) -> dict[str, Any]:
    swappiness = words.text("memory-swappiness")
    return {
        "memory_swappiness": None
        if swappiness in (None, "-1")
        else limit_words.ranged(swappiness, "--memory-swappiness", 0, 100),
        "oom_kill_disable": words.yes("oom-kill-disable") or None,
        "weight_devices": tuple(map(limit_words.device_weight, words.all("blkio-weight-device"))),
        **{
            name.replace("-", "_"): tuple(
                limit_words.device_rate(text, f"--device-{name}") for text in words.all(f"device-{name}")
            )
            for name in ("read-bps", "write-bps", "read-iops", "write-iops")
        },
        "unified": limit_words.unified(words.all("cgroup-conf")),
    }


def _parent(text: str) -> str:
    parts = text.strip("/").split("/")
    if "\0" in text or ".." in parts or "." in parts:
        raise InvalidValue(f"not a cgroup: {shown(text)}", "a path below the place of this machine's cgroups, as /jobs/nightly")
    return "".join("/" + part for part in parts if part)
