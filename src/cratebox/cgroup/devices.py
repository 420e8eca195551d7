"""Device rules: OCI's list made into lines for cgroup v1 and into an eBPF program for cgroup v2. Pure.

config-linux.md, Allowed Device list: entries {allow, type, major, minor, access}, applied in order, so that the last one
that fits a request decides. Before the first, nothing is allowed. v1: Documentation/admin-guide/cgroup-v1/devices.rst;
v2: struct bpf_cgroup_dev_ctx of linux/bpf.h.
"""

from __future__ import annotations

import struct

from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.model import DeviceRule

    _Rules = tuple[DeviceRule, ...]
    _Rule = tuple[bool, str, int, int, str]  # allow, type "a" "b" "c", major, minor (-1: all), access

_BLOCK, _CHAR = 1, 2  # BPF_DEVCG_DEV_*
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, READ, WRITE
_ANY = -1


def check(rules: _Rules) -> None:
    """Raise InvalidValue for a rule that is none."""
    for rule in rules:
        _checked(rule)


def v1_lines(rules: _Rules) -> list[tuple[str, str]]:
    """Return (file, line) in the order of writing for cgroup v1. No rules, no lines. Raises InvalidValue."""
    if not rules:
        return []
    lines = [("devices.deny", "a")]
    for rule in rules:
        allow, kind, major, minor, access = _checked(rule)
        file = "devices.allow" if allow else "devices.deny"
        if _is_everything(kind, major, minor, access):
            lines.append((file, "a"))
            continue
        numbers = f"{_number(major)}:{_number(minor)}"
        lines += [(file, f"{one} {numbers} {access}") for one in (("b", "c") if kind == "a" else (kind,))]
    return lines[1:] if len(lines) > 1 and lines[1][1] == "a" else lines


def v2_program(rules: _Rules) -> bytes:
    """Return struct bpf_insn[] that answers 1 or 0 to a request; empty where everything is allowed or there are no rules.

    The rules are asked from the last to the first. Each takes out of the request the kinds of access that it decides: a denied
    one ends it, and when all are allowed, so is the request. Raises InvalidValue.
    """
    checked = [_checked(rule) for rule in rules]
    for index in range(len(checked) - 1, -1, -1):
        if _is_everything(*checked[index][1:]):  # what was said before it no longer counts
            checked = checked[index:]
            break
    if not checked or (len(checked) == 1 and checked[0][0] and _is_everything(*checked[0][1:])):
        return b""
    program = [
        _insn(0x61, 2, 1, 0),  # r2 = context->access_type
        _insn(0xBC, 3, 2),  # r3 = r2                  the access, upper half
        _insn(0x74, 3, 0, 0, 16),  # r3 >>= 16
        _insn(0x54, 2, 0, 0, 0xFFFF),  # r2 &= 0xffff  the type, lower half
        _insn(0x61, 4, 1, 4),  # r4 = context->major
        _insn(0x61, 5, 1, 8),  # r5 = context->minor
    ]
    for rule in reversed(checked):
        program += _rule(*rule)
    program += _end(allow=False)
    return b"".join(program)


def _rule(allow: bool, kind: str, major: int, minor: int, access: str) -> list[bytes]:
    bits = sum(_ACCESS[letter] for letter in access)
    if allow:
        decide = [
            _insn(0x54, 3, 0, 0, ~bits),  # r3 &= ~bits     what is left to be allowed
            _insn(0x56, 3, 0, 2, 0),  # if r3 != 0 go on
            *_end(allow=True),
        ]
    else:
        decide = [
            _insn(0xBC, 0, 3),  # r0 = r3
            _insn(0x54, 0, 0, 0, bits),  # r0 &= bits
            _insn(0x16, 0, 0, 2, 0),  # if r0 == 0 go on
            *_end(allow=False),
        ]
    tests = [(2, {"b": _BLOCK, "c": _CHAR}[kind] if kind != "a" else _ANY), (4, major), (5, minor)]
    wanted = [(register, value) for register, value in tests if value != _ANY]
    # if register != value: go on behind the rule
    skips = [_insn(0x56, register, 0, len(wanted) - 1 - at + len(decide), value) for at, (register, value) in enumerate(wanted)]
    return skips + decide


def _end(allow: bool) -> list[bytes]:
    return [_insn(0xB4, 0, 0, 0, int(allow)), _insn(0x95)]  # r0 = allow; exit


def _insn(code: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """Return a struct bpf_insn. 0x61 loads a word; 0x54, 0x74, 0xb4, 0xbc are 32-bit and, shift, mov; 0x16, 0x56 ==, !=."""
    return struct.pack("=BBhi", code, target | source << 4, offset, immediate)


def _checked(rule: DeviceRule) -> _Rule:
    kind = rule.type or "a"
    access = rule.access or "rwm"
    major, minor = (_ANY if number is None else number for number in (rule.major, rule.minor))
    if kind not in {"a", "b", "c", "u"}:
        raise InvalidValue(f"resources.devices: type {kind!a} is none of a, b, c and u")
    if not set(access) <= set("rwm") or len(set(access)) < len(access):
        raise InvalidValue(f"resources.devices: access {access!a} is not made of r, w and m")
    for number, most in ((major, 0xFFF), (minor, 0xFFFFF)):  # dev_t of the kernel: 12 and 20 bits
        if not _ANY <= number <= most:
            raise InvalidValue(f"resources.devices: {number} is not a device number")
    return rule.allow, "c" if kind == "u" else kind, major, minor, access


def _is_everything(kind: str, major: int, minor: int, access: str) -> bool:
    return kind == "a" and major == minor == _ANY and len(access) == 3


def _number(value: int) -> str:
    return "*" if value == _ANY else str(value)
