"""OCI linux.resources made into what is written to which file of cgroup v1 (Documentation/admin-guide/cgroup-v1). Pure.

What cannot be set is refused by name, for a limit that silently does not hold is worse than none.
"""

from __future__ import annotations

from cratebox.cgroup.resources import Write
from cratebox.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.cgroup.model import CPU, BlockIO, Memory, Resources


def for_v1(resources: Resources) -> list[Write]:
    """Return what to write, device rules left out, for `resources` that are checked. Raises Unsupported."""
    if resources.unified:
        raise Unsupported("cannot set resources.unified: this machine has cgroup v1")
    writes = of_both(resources, _memory, _cpu, _block_io, ".limit_in_bytes")
    network = resources.network
    if network and network.class_id is not None:
        writes.append(Write("net_cls", "net_cls.classid", str(network.class_id), "network.classID"))
    for wanted in network.priorities if network else ():
        writes.append(Write("net_prio", "net_prio.ifpriomap", f"{wanted.name} {wanted.priority}", "network.priorities"))
    return writes + rdma(resources)


def of_both(
    resources: Resources,
    memory: Callable[[Memory], list[Write]],
    cpu: Callable[[CPU], list[Write]],
    block_io: Callable[[BlockIO], list[Write]],
    of_pages: str,
) -> list[Write]:
    """Return what to write for the controllers that both versions have;
    `of_pages` ends the names of the files of huge pages.
    """
    writes = []
    if resources.memory:
        writes += memory(resources.memory)
    if resources.cpu:
        writes += cpu(resources.cpu)
    if resources.pids and resources.pids.limit is not None:
        writes.append(Write("pids", "pids.max", limit(resources.pids.limit), "pids.limit"))
    if resources.block_io:
        writes += block_io(resources.block_io)
    for one in resources.hugepage_limits:
        writes += hugepages(one.page_size, str(one.limit), of_pages)
    return writes


def limit(value: int) -> str:
    """Return a limit as the pids controller and v2 write it."""
    return str(value) if value >= 0 else "max"


def hugepages(size: str, value: str, suffix: str) -> list[Write]:
    """Return the limits of pages of one size, both of those in use and of those reserved (Linux 5.7),
    which is none elsewhere.
    """
    name = f"hugepageLimits {size}"
    return [
        Write("hugetlb", f"hugetlb.{size}{suffix}", value, name),
        Write("hugetlb", f"hugetlb.{size}.rsvd{suffix}", value, name, optional=True),
    ]


def rdma(resources: Resources) -> list[Write]:
    """Return the limits of RDMA devices, which both versions write alike."""
    writes = []
    for device, one in (resources.rdma or {}).items():
        wanted = [("hca_handle", one.hca_handles), ("hca_object", one.hca_objects)]
        words = [f"{word}={number}" for word, number in wanted if number is not None]
        writes.append(Write("rdma", "rdma.max", " ".join((device, *words)), f"rdma.{device}"))
    return writes


def _memory(memory: Memory) -> list[Write]:
    if memory.kernel and memory.kernel > 0:
        raise Unsupported(
            "cannot set memory.kernel: Linux does not limit it by itself any more", "memory.limit counts it as well"
        )
    if memory.use_hierarchy is False:
        raise Unsupported("cannot set memory.useHierarchy to false: Linux always counts what is below a cgroup")
    swap = memory.swap
    if memory.limit == -1 and not swap:
        swap = -1  # what was a limit of both together would keep memory within it
    wanted = [
        ("memory.limit_in_bytes", memory.limit, "memory.limit"),
        ("memory.memsw.limit_in_bytes", swap or None, "memory.swap"),
        ("memory.soft_limit_in_bytes", memory.reservation, "memory.reservation"),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, "memory.kernelTCP"),
        ("memory.swappiness", memory.swappiness, "memory.swappiness"),
    ]
    if memory.disable_oom_killer is not None:
        wanted.append(("memory.oom_control", int(memory.disable_oom_killer), "memory.disableOOMKiller"))
    # Without a limit nothing is asked of a kernel that does not count swap, nor is reset what it does not have.
    return [Write("memory", file, str(value), name, optional=value == -1) for file, value, name in wanted if value is not None]


def _cpu(cpu: CPU) -> list[Write]:
    wanted = [
        ("cpu", "cpu.shares", cpu.shares or None, "cpu.shares"),
        ("cpu", "cpu.cfs_period_us", cpu.period or None, "cpu.period"),
        ("cpu", "cpu.cfs_quota_us", cpu.quota or None, "cpu.quota"),
        ("cpu", "cpu.cfs_burst_us", cpu.burst, "cpu.burst"),
        ("cpu", "cpu.rt_period_us", cpu.realtime_period or None, "cpu.realtimePeriod"),
        ("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime or None, "cpu.realtimeRuntime"),
        ("cpu", "cpu.idle", cpu.idle, "cpu.idle"),
        ("cpuset", "cpuset.cpus", cpu.cpus or None, "cpu.cpus"),
        ("cpuset", "cpuset.mems", cpu.mems or None, "cpu.mems"),
    ]
    return [Write(controller, file, str(value), name) for controller, file, value, name in wanted if value is not None]


def _block_io(block: BlockIO) -> list[Write]:
    writes = []
    if block.weight:
        writes.append(_weight("weight", str(block.weight), "blockIO.weight"))
    if block.leaf_weight:
        writes.append(Write("blkio", "blkio.leaf_weight", str(block.leaf_weight), "blockIO.leafWeight"))
    for one in block.weight_device:
        device = f"{one.major}:{one.minor}"
        if one.weight:
            writes.append(_weight("weight_device", f"{device} {one.weight}", "blockIO.weightDevice"))
        if one.leaf_weight:
            value = f"{device} {one.leaf_weight}"
            writes.append(Write("blkio", "blkio.leaf_weight_device", value, "blockIO.weightDevice.leafWeight"))
    for file, rates, name in (
        ("read_bps_device", block.throttle_read_bps_device, "throttleReadBpsDevice"),
        ("write_bps_device", block.throttle_write_bps_device, "throttleWriteBpsDevice"),
        ("read_iops_device", block.throttle_read_iops_device, "throttleReadIOPSDevice"),
        ("write_iops_device", block.throttle_write_iops_device, "throttleWriteIOPSDevice"),
    ):
        for rate in rates:
            value = f"{rate.major}:{rate.minor} {rate.rate}"
            writes.append(Write("blkio", f"blkio.throttle.{file}", value, f"blockIO.{name}"))
    return writes


def _weight(file: str, value: str, name: str) -> Write:
    """Kernels have the weights of the BFQ scheduler, or, older ones, those of CFQ."""
    return Write("blkio", f"blkio.bfq.{file}", value, name, Write("blkio", f"blkio.{file}", value, name))
