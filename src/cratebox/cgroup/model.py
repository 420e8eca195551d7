"""OCI linux.resources as frozen records (runtime-spec 1.3, config-linux.md, Control groups).

A property that is not given is None, which is not 0: what is not given is left as it is. Sizes are bytes, times microseconds;
-1 is no limit.
"""

from __future__ import annotations

from cratebox import document
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DeviceRule(Record):
    """`type` is a (all), b, c or u; `access` is made of r, w and m. A number that is not given, or -1, is any."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(Record):
    """`swap` is a limit of memory and swap together; `limit` one of memory alone."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class CPU(Record):
    """`cpus` and `mems` are lists of processors and of memory nodes, as in "0-2,7"."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(Record):
    limit: int | None = None


class WeightDevice(Record):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Record):
    """`rate` is bytes a second, or operations a second."""

    major: int
    minor: int
    rate: int


class BlockIO(Record):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """`page_size` as the kernel writes it: 64KB, 2MB, 1GB."""

    page_size: str
    limit: int


class InterfacePriority(Record):
    name: str
    priority: int


class Network(Record):
    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class RDMA(Record):
    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(Record):
    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: dict[str, RDMA] | None = None
    unified: dict[str, str] | None = None


def decode(parsed: Any) -> Resources:
    """Return the records of a parsed linux.resources, as `update` is given one. Raises InvalidValue. See `resources.check`."""
    return document.decode(Resources, parsed, "resources")


def as_before_1_3(resources: Resources) -> Resources:
    """Return what `resources` mean in a document older than runtime-spec 1.3, where a pids.limit of 0 was none, as -1 is."""
    if resources.pids and resources.pids.limit == 0:
        return resources.replace(pids=Pids(limit=-1))
    return resources


def limits_in(resources: Resources | None) -> list[str]:
    """Return the names of the limits that are set ("memory.limit"); device rules, and -1, are none."""
    found = []
    for group, value in (document.encode(resources) if resources else {}).items():
        if isinstance(value, dict):
            found += [f"{group}.{field}" for field, one in value.items() if one is not False and one not in (-1, "", [], {})]
        elif group != "devices" and value:
            found.append(group)
    return [name for name in found if name not in {"memory.useHierarchy", "memory.checkBeforeUpdate"}]
