"""What a linux.resources must be, whatever cgroup it is for, and how a limit is written to one. Pure.

config-linux.md, Control groups. files_v1.py and files_v2.py say which file takes what.
"""

from __future__ import annotations

from cratebox.cgroup import devices
from cratebox.errors import InvalidValue
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.model import CPU, BlockIO, HugepageLimit, Memory, Network, Resources

_MOST = 2**64 - 1
_OF_OUR_OWN = ("cgroup.max.depth", "cgroup.max.descendants")  # files of the core that only limit


class Write(Record):
    """What is written to a file of a cgroup: a line in a write of its own.

    `name` is the property that asks for it ("memory.limit"), for the error. Where the kernel lacks the file, `otherwise` is
    written; where that is None too, and the write is not `optional`, the property cannot be set.
    """

    controller: str
    file: str
    value: str
    name: str
    otherwise: Write | None = None
    optional: bool = False


def check(resources: Resources) -> None:
    """Raise InvalidValue for what no cgroup can be given, of whichever version. Device rules included."""
    devices.check(resources.devices)
    if resources.__dict__.keys() <= {"devices"}:
        return
    if resources.memory:
        _check_memory(resources.memory)
    if resources.cpu:
        _check_cpu(resources.cpu)
    if resources.pids:
        _range("pids.limit", resources.pids.limit, -1, 2**63 - 1)
    if resources.block_io:
        _check_block_io(resources.block_io)
    _check_hugepages(resources.hugepage_limits)
    if resources.network:
        _check_network(resources.network)
    for device, limits in (resources.rdma or {}).items():
        _check_name(f"rdma has {device!a}, which is no device", device)
        _range(f"rdma.{device}.hcaHandles", limits.hca_handles, 0, 2**32 - 1)
        _range(f"rdma.{device}.hcaObjects", limits.hca_objects, 0, 2**32 - 1)
        if limits.hca_handles is None and limits.hca_objects is None:
            raise InvalidValue(f"resources.rdma.{device}: hcaHandles or hcaObjects is missing")
    for file, value in (resources.unified or {}).items():
        _check_unified(file, value)


def _range(name: str, value: int | None, least: int, most: int = _MOST) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidValue(f"resources.{name}: {value} is not a number from {least} to {most}")


def _check_memory(memory: Memory) -> None:
    for name, value in (
        ("limit", memory.limit), ("reservation", memory.reservation), ("swap", memory.swap), ("kernel", memory.kernel),
        ("kernelTCP", memory.kernel_tcp),
    ):  # fmt: skip
        _range(f"memory.{name}", value, -1, 2**63 - 1)
    _range("memory.swappiness", memory.swappiness, 0, 200)
    limit, swap = memory.limit, memory.swap
    if limit and swap and 0 < swap < limit:
        raise InvalidValue(f"resources.memory.swap, {swap}, counts memory as well: it cannot be below memory.limit, {limit}")
    if limit and limit < 0 and swap and swap > 0:
        raise InvalidValue("resources.memory.swap is a limit of memory and swap together: memory.limit cannot be unlimited")


def _check_cpu(cpu: CPU) -> None:
    for name, value, least, most in (
        ("shares", cpu.shares, 0, _MOST), ("quota", cpu.quota, -1, 2**63 - 1), ("burst", cpu.burst, 0, _MOST),
        ("period", cpu.period, 0, _MOST), ("realtimeRuntime", cpu.realtime_runtime, -1, 2**63 - 1),
        ("realtimePeriod", cpu.realtime_period, 0, _MOST), ("idle", cpu.idle, 0, 1),
    ):  # fmt: skip
        _range(f"cpu.{name}", value, least, most)
    for name, text in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if not set(text) <= set("0123456789,-"):
            raise InvalidValue(f"resources.cpu.{name}: {text!a} is not a list like 0-2,4")


def _check_block_io(block: BlockIO) -> None:
    weights = [("weight", block.weight), ("leafWeight", block.leaf_weight)]
    for one in block.weight_device:
        _check_device("weightDevice", one.major, one.minor)
        weights += [("weightDevice.weight", one.weight), ("weightDevice.leafWeight", one.leaf_weight)]
        if not one.weight and not one.leaf_weight:
            raise InvalidValue(f"resources.blockIO.weightDevice {one.major}:{one.minor}: weight or leafWeight is missing")
    for name, weight in weights:
        if weight:  # 0 is none
            _range(f"blockIO.{name}", weight, 10, 1000)
    for name, rates in (
        ("throttleReadBpsDevice", block.throttle_read_bps_device), ("throttleWriteBpsDevice", block.throttle_write_bps_device),
        ("throttleReadIOPSDevice", block.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", block.throttle_write_iops_device),
    ):  # fmt: skip
        for rate in rates:
            _check_device(name, rate.major, rate.minor)
            _range(f"blockIO.{name}.rate", rate.rate, 0)


def _check_device(name: str, major: int, minor: int) -> None:
    _range(f"blockIO.{name}.major", major, 0, 0xFFF)  # dev_t of the kernel: 12 and 20 bits
    _range(f"blockIO.{name}.minor", minor, 0, 0xFFFFF)


def _check_hugepages(limits: tuple[HugepageLimit, ...]) -> None:
    for one in limits:
        number, unit = one.page_size[:-2], one.page_size[-2:]
        if unit not in {"KB", "MB", "GB"} or not (number.isascii() and number.isdigit()) or number.startswith("0"):
            raise InvalidValue(f"resources.hugepageLimits: {one.page_size!a} is not the size of a page, like 2MB")
        _range(f"hugepageLimits {one.page_size}", one.limit, 0)


def _check_network(network: Network) -> None:
    _range("network.classID", network.class_id, 0, 2**32 - 1)
    for one in network.priorities:
        _check_name(f"network.priorities has {one.name!a}, which is no interface", one.name)
        _range(f"network.priorities {one.name}", one.priority, 0, 2**32 - 1)


def _check_name(what: str, name: str) -> None:
    """A name is a word of a line that the kernel takes apart."""
    if not name or not name.isascii() or not name.isprintable() or " " in name or "/" in name or len(name) > 64:
        raise InvalidValue(f"resources.{what}")


def _check_unified(file: str, value: str) -> None:
    named = file.isascii() and file.replace("_", "").replace(".", "").isalnum() and "." in file[1:]
    if not named or file.startswith("."):
        raise InvalidValue(f"resources.unified: {file!a} is not a file of a controller")
    if file.startswith("cgroup.") and file not in _OF_OUR_OWN:
        raise InvalidValue(f"resources.unified: {file} is no limit, it would change the cgroup itself")
    if not value.isprintable() and not value.replace("\n", "").isprintable():
        raise InvalidValue(f"resources.unified: {file}: {value!a} is not text")
