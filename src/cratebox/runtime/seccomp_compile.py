"""A seccomp profile made into the kernel's filter program, by libseccomp through its C interface (seccomp_init(3)).

Off the hot path: ctypes and libseccomp cost some 20 ms, so `seccomp.py` keeps what comes out of here.
"""

from __future__ import annotations

import ctypes
import os
import struct

from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux import const
from cratebox.runtime.seccomp_notify import is_wanted
from cratebox.runtime.seccomp_profile import check
from cratebox.runtime.spec import Seccomp, Syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALLOW = 0x7FFF0000
_ACTIONS = {  # seccomp.h; the low 16 bits of ERRNO and TRACE are their number
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
# AUDIT_ARCH_* of linux/audit.h; libseccomp uses the same numbers, and one of its own for x32.
_X86_64, _X86, _X32, _AARCH64, _ARM = 0xC000003E, 0x40000003, 0x4000003E, 0xC00000B7, 0x40000028
_OF_MACHINE = {
    "x86_64": {"SCMP_ARCH_X86_64": _X86_64, "SCMP_ARCH_X86": _X86, "SCMP_ARCH_X32": _X32},
    "aarch64": {"SCMP_ARCH_AARCH64": _AARCH64, "SCMP_ARCH_ARM": _ARM},
}
_OPTIMIZE, _BINARY_TREE = 8, 2  # SCMP_FLTATR_CTL_OPTIMIZE
_UNKNOWN = -1  # __NR_SCMP_ERROR
_EPERM, _ENOSYS, _EEXIST, _EINVAL = 1, 38, 17, 22
_FLAGS = {
    name: getattr(const, name)
    for name in (
        "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    )
}  # fmt: skip
_BPF_MAXINSNS = 4096
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the lower half of an argument first
_SOCKETCALLS = (  # linux/net.h, SYS_SOCKET = 1 and so on
    "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv", "sendto",
    "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
)  # fmt: skip


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("datum_a", ctypes.c_uint64), ("datum_b", ctypes.c_uint64))


def compile_filter(seccomp: Seccomp, machine: str = const.MACHINE) -> tuple[bytes, int]:
    """Return (the filter as struct sock_filter[], the flags for seccomp(2)) of an OCI linux.seccomp for `machine`.

    Names of system calls that this libseccomp does not know are left out, as the other runtimes do. Where the default action
    is an errno, calls with a number above all that the profile names get ENOSYS instead: they are younger than the
    profile, and a C library falls back on ENOSYS and on nothing else.

    Raises InvalidValue for a profile that is none, Unsupported where libseccomp is missing or too old.
    """
    check(seccomp)
    library = _library()
    wanted = _OF_MACHINE[machine]
    native = next(iter(wanted.values()))
    architectures = [native, *(wanted[name] for name in seccomp.architectures if wanted.get(name, native) != native)]
    default = _action(seccomp.default_action, seccomp.default_errno_ret)
    context = library.seccomp_init(default)
    if not context:
        raise InvalidValue(f"seccomp: libseccomp does not accept the default action {seccomp.default_action}")
    try:
        _set_architectures(library, context, architectures)
        library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE)  # older than 2.5: a linear filter, as correct
        for rule in seccomp.syscalls:
            _add_rule(library, context, rule, default)
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    program = _before(library, seccomp, architectures, default) + program
    if len(program) > 8 * _BPF_MAXINSNS:
        raise InvalidValue(f"seccomp: the profile makes a filter of {len(program) // 8} instructions; the kernel takes 4096")
    return program, filter_flags(seccomp)


def filter_flags(seccomp: Seccomp) -> int:
    """Return the flags for seccomp(2) of an OCI linux.seccomp; SPEC_ALLOW where it names none, as the others do.

    Without it a kernel before 5.16 slows a filtered process down by mitigations that the whole machine went without.
    """
    flags = sum(_FLAGS[name] for name in set(seccomp.flags)) if seccomp.flags else const.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    if not is_wanted(seccomp):
        return flags & ~const.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV  # that one is about NOTIFY alone
    if flags & const.SECCOMP_FILTER_FLAG_TSYNC:  # the result cannot be a descriptor and the number of a thread
        flags |= const.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    return flags | const.SECCOMP_FILTER_FLAG_NEW_LISTENER


def _library() -> Any:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unsupported(
            f"seccomp: cannot load libseccomp.so.2: {error}",
            "apt-get install libseccomp2 (dnf install libseccomp), or do without a filter: no linux.seccomp in a spec,"
            " --security-opt seccomp=unconfined with crate",
        ) from None
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_release.restype = None
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
    ]  # fmt: skip
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def _action(name: str, number: int | None) -> int:
    action = _ACTIONS[name]
    if name in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}:
        return action | (_EPERM if number is None else number)
    return action


def _set_architectures(library: Any, context: int, architectures: list[int]) -> None:
    """Make the filter one for `architectures`; a new one is for the machine that we are on."""
    native = _OF_MACHINE[const.MACHINE]
    for token in architectures:
        status = library.seccomp_arch_add(context, token)
        if status not in {0, -_EEXIST}:
            raise InvalidValue(f"seccomp: architecture {token:#x}: {os.strerror(-status)}")
    if architectures[0] not in native.values():
        library.seccomp_arch_remove(context, next(iter(native.values())))


def _add_rule(library: Any, context: int, rule: Syscall, default: int) -> None:
    action = _action(rule.action, rule.errno_ret)
    if action == default:
        return  # libseccomp refuses a rule that says what holds anyway
    comparisons = (_Comparison * max(len(rule.args), 1))(*(
        _Comparison(a.index, _OPERATORS[a.op], a.value, a.value_two) for a in rule.args
    ))  # fmt: skip
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN:
            continue
        status = library.seccomp_rule_add_array(context, action, number, len(rule.args), comparisons)
        if status == -_EEXIST:
            raise InvalidValue(f"seccomp: the profile has two rules for {name} that contradict each other")
        if status and rule.action == "SCMP_ACT_NOTIFY":
            raise Unsupported(
                f"seccomp: this libseccomp or this kernel does no SCMP_ACT_NOTIFY: {os.strerror(-status)}",
                "it takes libseccomp 2.5 and Linux 5.0",
            )
        if status:
            raise InvalidValue(f"seccomp: libseccomp refuses the rule {rule.action} for {name}: {os.strerror(-status)}")


def _export(library: Any, context: int) -> bytes:
    fd = os.memfd_create("seccomp-filter")
    try:
        status = library.seccomp_export_bpf(context, fd)
        if status:
            raise InvalidValue(f"seccomp: libseccomp cannot make a filter of the profile: {os.strerror(-status)}")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _before(library: Any, seccomp: Seccomp, architectures: list[int], default: int) -> bytes:
    """Return the instructions before libseccomp's filter: what it cannot say, or says wrongly, by architecture."""
    young = seccomp.default_action == "SCMP_ACT_ERRNO" and default & 0xFFFF != _ENOSYS
    code = b""
    for token in architectures:
        body = b""
        if young and token != _X32:
            body += b"".join(_errno_between(*numbers) for numbers in _unborn(library, seccomp, token, _X32 in architectures))
        if token == _X86:
            body += b"".join(_refuse_socketcall(call, default) for call in _widened(seccomp))
        if body:
            body = _load(_NUMBER) + body
            # The number has replaced the architecture in the accumulator: load that again for the next comparison.
            code += _instruction(0x15, token, 0, len(body) // 8) + body + _load(_ARCHITECTURE)
    return _load(_ARCHITECTURE) + code if code else b""


def _unborn(library: Any, seccomp: Seccomp, token: int, x32: bool) -> list[tuple[int, int]]:
    """Return the numbers of calls younger than the profile: from above the highest that it names to the end of ordinary ones.

    x32 shares the architecture of x86-64 and has bit 30 set; 32-bit Arm has calls of its own from 0xf0000 on.
    """
    names = {name.encode() for rule in seccomp.syscalls for name in rule.names}

    def beyond(abi: int, end: int) -> tuple[int, int]:
        numbers = (library.seccomp_syscall_resolve_name_arch(abi, name) for name in names)
        return max((number for number in numbers if 0 <= number <= end), default=end) + 1, end

    ranges = [beyond(token, {_X86_64: 0x3FFFFFFF, _ARM: 0xEFFFF}.get(token, 0x7FFFFFFE))]
    if token == _X86_64 and x32:
        ranges.append(beyond(_X32, 0x7FFFFFFE))
    return [numbers for numbers in ranges if numbers[0] <= numbers[1]]


def _widened(seccomp: Seccomp) -> list[int]:
    """Return the calls of socketcall(2) that libseccomp would allow although the profile does not.

    A rule for socket(2) on 32-bit x86 is for socketcall(SYS_SOCKET) as well. Its arguments lie in memory, so libseccomp drops
    the rule's comparisons there, and "AF_INET is allowed" becomes "every socket is allowed". A profile that wants
    that says so by a rule for socketcall without comparisons.
    """
    plain = {name for rule in seccomp.syscalls if not rule.args for name in rule.names}
    compared = {name for rule in seccomp.syscalls if rule.args for name in rule.names}
    if "socketcall" in plain:
        return []
    return [call for call, name in enumerate(_SOCKETCALLS, 1) if name in compared - plain]


def _refuse_socketcall(call: int, default: int) -> bytes:
    return (
        _instruction(0x15, 102, 0, 4)  # socketcall
        + _load(_FIRST_ARGUMENT)
        + _instruction(0x15, call, 0, 1)
        + _instruction(0x06, default)
        + _load(_NUMBER)
    )


def _errno_between(first: int, last: int) -> bytes:
    return (
        _instruction(0x35, first, 0, 2)  # at least the first,
        + _instruction(0x25, last, 1, 0)  # and not more than the last
        + _instruction(0x06, _ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS)
    )


def _load(offset: int) -> bytes:
    """Load a word of struct seccomp_data into the accumulator."""
    return _instruction(0x20, offset)


def _instruction(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    """Return a struct sock_filter (linux/filter.h): 0x06 returns, 0x15, 0x25, 0x35 are ==, >, >=."""
    return struct.pack("=HBBI", code, jump_true, jump_false, k)
