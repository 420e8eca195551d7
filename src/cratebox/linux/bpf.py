"""bpf(2): eBPF programs that decide which devices a cgroup of v2 may use."""

from __future__ import annotations

import struct

from cratebox.linux import const
from cratebox.linux._libc import checked, failure, pinned, syscall

_BPF_PROG_LOAD, _BPF_PROG_ATTACH, _BPF_PROG_DETACH, _BPF_PROG_GET_FD_BY_ID, _BPF_PROG_QUERY = 5, 8, 9, 13, 16
_BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE = 15, 6
_BPF_F_ALLOW_MULTI = 2
_MOST_ATTACHED = 64  # BPF_CGROUP_MAX_PROGS
_LOG_SIZE = 64 << 10


def load_device_program(instructions: bytes) -> int:
    """Load struct bpf_insn[] as a program of type CGROUP_DEVICE; return its descriptor, close-on-exec.

    Raises OSError; where the verifier refused the program, with the end of what it said.
    """
    code, address = pinned(instructions)
    name, license_address = pinned(b"Apache-2.0\0")
    head = struct.pack("=IIQQ", _BPF_PROG_TYPE_CGROUP_DEVICE, len(instructions) // 8, address, license_address)
    quiet = head + bytes(32)
    fd = syscall(const.SYS_bpf, _BPF_PROG_LOAD, quiet, len(quiet))
    if fd >= 0:
        return fd
    error = failure("bpf(BPF_PROG_LOAD, CGROUP_DEVICE)")
    log, log_address = pinned(bytes(_LOG_SIZE))
    loud = head + struct.pack("=IIQII", 1, _LOG_SIZE, log_address, 0, 0)
    fd = syscall(const.SYS_bpf, _BPF_PROG_LOAD, loud, len(loud))
    if fd >= 0:
        return fd
    said = " ".join(log.raw.partition(b"\0")[0].decode("ascii", "replace").split())
    del code, name  # kept until here: the kernel reads through their addresses
    raise OSError(error.errno, f"{error.strerror}{': ' + said[-200:] if said else ''}")


def attach_device_program(cgroup: int, program: int) -> None:
    """Attach a program to the cgroup directory `cgroup`, beside those that are there: all must agree. Raises OSError."""
    _change(_BPF_PROG_ATTACH, "BPF_PROG_ATTACH", cgroup, program, _BPF_F_ALLOW_MULTI)


def detach_device_program(cgroup: int, program: int) -> None:
    """Detach a program from the cgroup directory `cgroup`. Raises OSError: ENOENT where it is not attached."""
    _change(_BPF_PROG_DETACH, "BPF_PROG_DETACH", cgroup, program, 0)


def attached_device_programs(cgroup: int) -> list[int]:
    """Return the IDs of the programs that are attached to the cgroup directory `cgroup` itself. Raises OSError."""
    found, address = pinned(bytes(4 * _MOST_ATTACHED))
    attributes, _ = pinned(struct.pack("=IIIIQII", cgroup, _BPF_CGROUP_DEVICE, 0, 0, address, _MOST_ATTACHED, 0))
    checked("bpf(BPF_PROG_QUERY, CGROUP_DEVICE)", const.SYS_bpf, _BPF_PROG_QUERY, attributes, len(attributes))
    count = struct.unpack_from("=I", attributes.raw, 24)[0]
    return list(struct.unpack_from(f"={count}I", found.raw))


def open_program(identity: int) -> int:
    """Return a descriptor of the loaded program `identity`, close-on-exec. Raises OSError: ENOENT where it is gone."""
    attributes = struct.pack("=III", identity, 0, 0)
    return checked("bpf(BPF_PROG_GET_FD_BY_ID)", const.SYS_bpf, _BPF_PROG_GET_FD_BY_ID, attributes, len(attributes))


def _change(command: int, name: str, cgroup: int, program: int, flags: int) -> None:
    attributes = struct.pack("=IIII", cgroup, program, _BPF_CGROUP_DEVICE, flags)
    checked(f"bpf({name}, CGROUP_DEVICE)", const.SYS_bpf, command, attributes, len(attributes))
