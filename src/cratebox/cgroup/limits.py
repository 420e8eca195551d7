"""Limits written to a cgroup's files, in an order that the kernel takes."""

from __future__ import annotations

import os

from cratebox.cgroup import tree
from cratebox.errors import CrateError, NotFound, RuntimeFailure, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.resources import Write

_EBUSY, _ENODEV, _EINVAL, _ERANGE, _EOPNOTSUPP = 16, 19, 22, 34, 95
_HINTS = {
    ("memory.limit_in_bytes", _EINVAL): "it is above the limit of memory and swap together: set memory.swap with it",
    ("memory.memsw.limit_in_bytes", _EINVAL): "it is below the limit of memory: set memory.limit with it",
    ("memory.limit_in_bytes", _EBUSY): "more than that is in use, and cannot be written out",
    ("memory.memsw.limit_in_bytes", _EBUSY): "more than that is in use",
    ("cpu.rt_runtime_us", _EINVAL): "the cgroup above needs a cpu.rt_runtime_us of its own, and no less",
    ("cpu.cfs_quota_us", _EINVAL): "the kernel takes 1000 to what the cgroup above has, and no less than cpu.burst",
}


def apply(directories: dict[str, str], writes: list[Write]) -> None:
    """Write all of `writes`; `directories` are those of the cgroup, by its controllers, each alone.

    Limits hold each other (memory within memory and swap, quota within its period and burst within it), and which has to move
    first depends on where they are. So what is refused is tried again once the others have moved. Raises Unsupported for what
    the machine lacks, RuntimeFailure for what the kernel refuses, NotFound where the cgroup is gone.
    """
    pending = writes
    while pending:
        refused: list[tuple[Write, OSError]] = []
        for one in pending:
            try:
                _write(directories, one)
            except OSError as error:
                if error.errno == _ENODEV:
                    _check_there(directories[one.controller], one)
                if error.errno not in {_EINVAL, _EBUSY, _ERANGE}:
                    raise _failed(one, error) from None
                refused.append((one, error))
        if len(refused) == len(pending):
            raise _failed(*refused[0])
        pending = [one for one, _ in refused]


def change(directories: dict[str, str], writes: list[Write]) -> None:
    """Do as `apply` to a cgroup that is in use: where something is refused, what was changed is set back.

    That is done for files of one value. A limit of a device stays, as far as it was set. Raises as `apply`.
    """
    for one in writes:
        if one.controller not in directories and not one.optional:
            raise Unsupported(f"cannot set {one.name}: the container is in no cgroup of the {one.controller} controller")
    before = [
        (directories[one.controller], one.file, value)
        for one in writes
        if one.controller in directories and (value := _value(directories[one.controller], one.file))
    ]
    try:
        apply(directories, writes)
    except CrateError:
        for _ in range(2):  # in either order
            for directory, file, value in before:
                try:
                    tree.write(directory, file, value)
                except OSError:
                    continue
        raise


def _value(directory: str, file: str) -> str:
    try:
        text = tree.read(directory, file)
    except OSError:
        return ""
    return "" if "\n" in text or ":" in text or file == "memory.oom_control" else text


def _write(directories: dict[str, str], one: Write) -> None:
    directory = directories.get(one.controller)
    if directory is None:
        if one.optional:
            return
        raise Unsupported(f"cannot set {one.name}: this machine has no {one.controller} cgroup controller")
    try:
        tree.write(directory, one.file, one.value)
    except FileNotFoundError:
        _check_there(directory, one)
        if one.otherwise:
            _write(directories, one.otherwise)
        elif not one.optional:
            raise Unsupported(f"cannot set {one.name}: this kernel has no {one.file}") from None


def _check_there(directory: str, one: Write) -> None:
    """A cgroup without the file lacks the feature; one that is gone was its last process's, and that has ended."""
    if not os.path.isdir(directory):
        raise NotFound(f"cannot set {one.name}: the cgroup {directory} is gone")


def _failed(one: Write, error: OSError) -> RuntimeFailure:
    hint = _HINTS.get((one.file, error.errno or 0))
    if error.errno == _ENODEV and one.name.startswith(("blockIO", "unified io")):
        hint = "there is no such disk"
    if error.errno == _EOPNOTSUPP and one.name.startswith("blockIO.weight"):
        hint = "the disk's scheduler has no weights: /sys/block/DISK/queue/scheduler"
    return RuntimeFailure(f"cannot set {one.name}: {error.strerror}", hint)
