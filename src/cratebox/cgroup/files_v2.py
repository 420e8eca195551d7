"""OCI linux.resources made into what is written to which file of cgroup v2 (admin-guide/cgroup-v2.rst). Pure.

The specification's numbers are those of v1; where v2 has others, they are converted as runc and crun do.
"""

from __future__ import annotations

from cratebox.cgroup.files_v1 import limit, of_both, rdma
from cratebox.cgroup.resources import Write
from cratebox.errors import InvalidValue, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.model import CPU, BlockIO, Memory, Resources


def for_v2(resources: Resources) -> list[Write]:
    """Return what to write, device rules left out, for `resources` that are checked. Raises InvalidValue, Unsupported."""
    writes = of_both(resources, _memory, _cpu, _block_io, ".max")
    network = resources.network
    if network and (network.class_id or network.priorities):
        raise Unsupported("cannot set resources.network: cgroup v2 has no such thing", "nftables matches a cgroup by its path")
    writes += rdma(resources)
    for file, value in (resources.unified or {}).items():
        for line in value.splitlines() or [""]:
            writes.append(Write(file.partition(".")[0], file, line, f"unified {file}"))
    return writes


def weight_of_shares(shares: int) -> int:
    """Return v2's cpu.weight (1 to 10000) of v1's cpu.shares (2 to 262144).

    By the curve that runc and crun use: in powers of two to powers of ten, through both ends and from 1024 to 100, which are
    the defaults.
    """
    from math import ceil, log2

    power = log2(min(max(shares, 2), 262144))
    return ceil(10 ** ((power * power + 125 * power - 126) / 612))


def weight_of_block_io(weight: int) -> int:
    """Return v2's io.weight (1 to 10000) of a blockIO.weight (10 to 1000), end to end in a line."""
    return 1 + (weight - 10) * 9999 // 990


def _memory(memory: Memory) -> list[Write]:
    for name, value in (
        ("swappiness", memory.swappiness), ("disableOOMKiller", memory.disable_oom_killer),
        ("kernel", (memory.kernel or 0) > 0), ("kernelTCP", (memory.kernel_tcp or 0) > 0),
    ):  # fmt: skip
        if value is not None and value is not False:
            raise Unsupported(f"cannot set memory.{name}: cgroup v2 has no such thing")
    if memory.use_hierarchy is False:
        raise Unsupported("cannot set memory.useHierarchy to false: cgroup v2 always counts what is below a cgroup")
    writes = []
    if memory.limit is not None:
        writes.append(Write("memory", "memory.max", limit(memory.limit), "memory.limit"))
    swap = _swap(memory)
    if swap is not None:
        # A kernel without swap has no such file, and does what is asked all the same.
        writes.append(Write("memory", "memory.swap.max", swap, "memory.swap", optional=swap in {"max", "0"}))
    if memory.reservation is not None:
        writes.append(Write("memory", "memory.low", limit(memory.reservation), "memory.reservation"))
    return writes


def _swap(memory: Memory) -> str | None:
    """OCI counts memory and swap together, v2 swap alone."""
    swap = memory.swap
    if not swap:
        return "max" if memory.limit == -1 else None
    if swap < 0:
        return "max"
    if not memory.limit or memory.limit < 0:
        raise InvalidValue("resources.memory.swap is a limit of memory and swap together: it needs memory.limit")
    return str(swap - memory.limit)


def _cpu(cpu: CPU) -> list[Write]:
    writes = []
    if cpu.shares:
        writes.append(Write("cpu", "cpu.weight", str(weight_of_shares(cpu.shares)), "cpu.shares"))
    if cpu.quota or cpu.period:
        value = limit(cpu.quota) if cpu.quota else "max"
        if cpu.period:  # without, the kernel keeps the one that is set
            value += f" {cpu.period}"
        writes.append(Write("cpu", "cpu.max", value, "cpu.quota"))
    if cpu.realtime_runtime or cpu.realtime_period:
        raise Unsupported("cannot set cpu.realtimeRuntime and realtimePeriod: cgroup v2 has no such thing")
    for controller, file, number, name in (
        ("cpu", "cpu.max.burst", cpu.burst, "cpu.burst"), ("cpu", "cpu.idle", cpu.idle, "cpu.idle"),
        ("cpuset", "cpuset.cpus", cpu.cpus or None, "cpu.cpus"), ("cpuset", "cpuset.mems", cpu.mems or None, "cpu.mems"),
    ):  # fmt: skip
        if number is not None:
            writes.append(Write(controller, file, str(number), name))
    return writes


def _block_io(block: BlockIO) -> list[Write]:
    if block.leaf_weight or any(one.leaf_weight for one in block.weight_device):
        raise Unsupported("cannot set blockIO.leafWeight: cgroup v2 has no such thing")
    writes = []
    if block.weight:
        writes.append(_weight("", block.weight, "blockIO.weight"))
    for one in block.weight_device:
        if one.weight:
            writes.append(_weight(f"{one.major}:{one.minor} ", one.weight, "blockIO.weightDevice"))
    for word, rates, name in (
        ("rbps", block.throttle_read_bps_device, "throttleReadBpsDevice"),
        ("wbps", block.throttle_write_bps_device, "throttleWriteBpsDevice"),
        ("riops", block.throttle_read_iops_device, "throttleReadIOPSDevice"),
        ("wiops", block.throttle_write_iops_device, "throttleWriteIOPSDevice"),
    ):
        for rate in rates:
            value = f"{rate.major}:{rate.minor} {word}={rate.rate or 'max'}"  # 0 is no limit in v1, and here an error
            writes.append(Write("io", "io.max", value, f"blockIO.{name}"))
    return writes


def _weight(device: str, weight: int, name: str) -> Write:
    """The BFQ scheduler has weights of v1's range, the cost model of v2 others."""
    other = Write("io", "io.weight", f"{device}{weight_of_block_io(weight)}", name)
    return Write("io", "io.bfq.weight", f"{device}{weight}", name, other)
