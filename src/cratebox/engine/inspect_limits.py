"""The limits in HostConfig, in the words of `docker inspect`: bytes, microseconds, billionths of a processor."""

from __future__ import annotations

from cratebox.engine.config import ContainerConfig, DeviceLimit, Limits, Ulimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHM_SIZE = 64 << 20  # bytes of /dev/shm where nothing else was said


def limits_of(config: ContainerConfig) -> dict[str, Any]:
    """Return the part of the section; 0, "" and null are no limit, as with Docker."""
    limits = config.limits or Limits()
    return {
        "ShmSize": config.shm_size or SHM_SIZE,
        "OomScoreAdj": config.oom_score_adj or 0,
        "CgroupParent": config.cgroup_parent,
        **_processor(limits),
        **_memory(limits),
        **_disks(limits),
        "PidsLimit": limits.pids,
        **dict.fromkeys(("CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"), 0),  # of other systems
        "Ulimits": [_ulimit(one) for one in config.ulimits] or None,
        "CgroupConf": dict(sorted(limits.unified.items())) if limits.unified else {},
    }


def _processor(limits: Limits) -> dict[str, Any]:
    return {
        "CpuShares": limits.cpu_shares or 0,
        "NanoCpus": limits.nano_cpus or 0,
        "CpuPeriod": limits.cpu_period or 0,
        "CpuQuota": limits.cpu_quota or 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
    }


def _memory(limits: Limits) -> dict[str, Any]:
    """Without --memory-swap a container may use as much swap as memory: twice its memory together."""
    memory = limits.memory or 0
    return {
        "Memory": memory,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwap": limits.memory_swap if limits.memory_swap is not None else 2 * memory,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
    }


def _disks(limits: Limits) -> dict[str, Any]:
    return {
        "BlkioWeight": limits.blkio_weight or 0,
        "BlkioWeightDevice": [{"Path": one.path, "Weight": one.value} for one in limits.weight_devices],
        "BlkioDeviceReadBps": _rates(limits.read_bps),
        "BlkioDeviceWriteBps": _rates(limits.write_bps),
        "BlkioDeviceReadIOps": _rates(limits.read_iops),
        "BlkioDeviceWriteIOps": _rates(limits.write_iops),
    }


def _rates(devices: tuple[DeviceLimit, ...]) -> list[dict[str, Any]]:
    return [{"Path": one.path, "Rate": one.value} for one in devices]


def _ulimit(one: Ulimit) -> dict[str, Any]:
    return {"Name": one.name, "Hard": one.hard, "Soft": one.soft}
