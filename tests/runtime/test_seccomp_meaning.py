"""What is loaded into the kernel is what the profile says, call by call: each filter is run in a BPF machine of our own."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import bpf_machine
import pytest

from cratebox import document
from cratebox.errors import Unsupported
from cratebox.linux import const
from cratebox.runtime import seccomp, seccomp_compile, seccomp_default, spec

try:
    LIBRARY = seccomp_compile._library()
except Unsupported as missing:
    pytest.skip(missing.message, allow_module_level=True)
LIBRARY.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
LIBRARY.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p

_DEFAULT = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
DEFAULT_CAPS = frozenset("CAP_" + name for name in _DEFAULT.split())
ALL_CAPS = DEFAULT_CAPS | seccomp_default.deciding_capabilities()
CAPS = pytest.mark.parametrize("caps", [frozenset(), DEFAULT_CAPS, ALL_CAPS], ids=["none", "default", "all"])

X86_64, X86, X32 = 0xC000003E, 0x40000003, 0x4000003E
AARCH64, ARM = 0xC00000B7, 0x40000028
TOKENS = {
    "SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": X86, "SCMP_ARCH_X32": X32, "SCMP_ARCH_AARCH64": AARCH64, "SCMP_ARCH_ARM": ARM,
}  # fmt: skip
# On 32-bit Arm the kernel has calls of its own from here on (asm/unistd.h).
ARM_OWN = range(0xF0001, 0xF0007)
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
ENOSYS = ERRNO | 38
SOCKETCALLS, SYS_SOCKET = 102, 1


def compiled(profile, machine="x86_64"):
    """Return the filter of an OCI linux.seccomp, as records or as a parsed document."""
    if isinstance(profile, dict):
        profile = document.decode(spec.Seccomp, profile, "profile")
    return seccomp_compile.compile_filter(profile, machine)[0]


def default_profile(*args, **options):
    """Return the default profile as a document."""
    return document.encode(seccomp.default_profile(*args, **options))


def name_of(token, number):
    found = LIBRARY.seccomp_syscall_resolve_num_arch(token, number)
    return found.decode() if found else None  # what libseccomp allocated stays until this process ends


def names(token):
    """Return number -> name of every call of an architecture that this libseccomp knows."""
    numbers = [*range(601), *(ARM_OWN if token == ARM else ())]
    base = 0x40000000 if token == X32 else 0
    known = ((number, name_of(token, number | base)) for number in numbers)
    return {number | base: name for number, name in known if name}


def action_of(rule, number_field="errnoRet"):
    action = rule["action"]
    if action == "SCMP_ACT_ALLOW":
        return ALLOW
    assert action == "SCMP_ACT_ERRNO"
    return ERRNO | rule.get(number_field, 1)


def matches(argument, values, wide):
    """Say whether a comparison holds; 32-bit architectures have 32-bit arguments, and compare as many bits."""
    mask = 2**64 - 1 if wide else 2**32 - 1
    value, first, second = (n & mask for n in (values[argument["index"]], argument["value"], argument["valueTwo"]))
    return {
        "SCMP_CMP_EQ": value == first,
        "SCMP_CMP_NE": value != first,
        "SCMP_CMP_LT": value < first,
        "SCMP_CMP_LE": value <= first,
        "SCMP_CMP_GT": value > first,
        "SCMP_CMP_GE": value >= first,
        "SCMP_CMP_MASKED_EQ": value & first == second,
    }[argument["op"]]


def meaning(profile, rules, name, values, wide, unborn):
    """Return what the profile says to the call; all rules that match must agree."""
    found = {
        action_of(rule)
        for rule in rules.get(name, ())
        if all(matches(argument, values, wide) for argument in rule.get("args", ()))
    }
    assert len(found) <= 1, f"{name}{values}: rules that contradict each other"
    if found:
        return found.pop()
    return ENOSYS if unborn else ERRNO | profile["defaultErrnoRet"]


def samples(rules, wide):
    """Return argument lists around every value that a rule of the call compares with."""
    yield (0,) * 6
    yield (1, 2, 3, 4, 5, 6)
    top = 2**64 - 1 if wide else 2**32 - 1
    yield (top,) * 6
    for rule in rules:
        for argument in rule.get("args", ()):
            value = argument["value"]
            bits = [1 << bit for bit in range(32) if value >> bit & 1]
            high = [1 << 32, value | 1 << 32, value | 1 << 63, 1 << 40] if wide else []
            for near in {value - 1, value, value + 1, argument["valueTwo"], ~value & top, top, 17, *bits, *high}:
                if 0 <= near <= top:
                    yield tuple(near if index == argument["index"] else 0 for index in range(6))


def assert_equal_meaning(profile, program, tokens):
    instructions = bpf_machine.load(program)
    bpf_machine.check(instructions)
    rules: dict[str, list] = {}
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            rules.setdefault(name, []).append(rule)
    checked = 0
    for token in tokens:
        known = names(token)
        ordinary = [number for number, name in known.items() if name in rules and number not in ARM_OWN]
        youngest = max(ordinary)
        arch, wide = (X86_64 if token == X32 else token), token in {X86_64, AARCH64}
        for number in sorted({*known, *range(youngest + 1, youngest + 50), youngest + 1000}):
            name = known.get(number)
            if name == "socketcall" and "socketcall" not in rules:
                continue  # answered by the calls that it stands for: a test of its own below
            if name == "ipc":
                assert bpf_machine.answer(instructions, arch, number) == ALLOW
                continue
            unborn = number > youngest and number not in ARM_OWN
            for values in samples(rules.get(name, ()), wide):
                said = bpf_machine.answer(instructions, arch, number, values)
                meant = meaning(profile, rules, name, values, wide, unborn)
                assert said == meant, f"{token:#x} {number} {name}{values}: {said:#x}, the profile says {meant:#x}"
                checked += 1
    assert checked > 1000


@CAPS
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_compiled_default_filter_means_what_the_profile_says(caps, machine):
    profile = default_profile(caps, machine)
    program = compiled(profile, machine)
    assert_equal_meaning(profile, program, [TOKENS[name] for name in profile["architectures"]])


def test_a_profile_with_x32_means_what_it_says_there_too():
    profile = default_profile(DEFAULT_CAPS, "x86_64")
    profile["architectures"].append("SCMP_ARCH_X32")
    program = compiled(profile)
    assert_equal_meaning(profile, program, [X86_64, X86, X32])


@pytest.mark.parametrize("op", ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])
def test_each_operator_means_what_the_specification_says(op):
    argument = {"index": 1, "value": 0x1_0000_0005, "valueTwo": 0x1_0000_0001, "op": f"SCMP_CMP_{op}"}
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["lseek"], "action": "SCMP_ACT_ALLOW", "args": [argument]}],
    }
    instructions = bpf_machine.load(compiled(profile))
    for low in range(8):
        for high in (0, 1, 2, 1 << 31):
            value = high << 32 | low
            meant = ALLOW if matches(argument, (0, value), wide=True) else ENOSYS
            assert bpf_machine.answer(instructions, X86_64, 8, (0, value)) == meant, hex(value)


@pytest.mark.parametrize(
    ("action", "number", "said"),
    [
        ("KILL", None, 0x00000000),
        ("KILL_THREAD", None, 0x00000000),
        ("KILL_PROCESS", None, 0x80000000),
        ("TRAP", None, 0x00030000),
        ("ERRNO", None, 0x00050001),
        ("ERRNO", 22, 0x00050016),
        ("TRACE", 7, 0x7FF00007),
        ("LOG", None, 0x7FFC0000),
        ("NOTIFY", None, 0x7FC00000),
    ],
)
def test_each_action_becomes_the_kernels(action, number, said):
    rule = {"names": ["getppid"], "action": f"SCMP_ACT_{action}"} | ({} if number is None else {"errnoRet": number})
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "syscalls": [rule]}
    instructions = bpf_machine.load(compiled(profile))
    assert bpf_machine.answer(instructions, X86_64, 110) == said
    assert bpf_machine.answer(instructions, X86_64, 39) == ALLOW


@CAPS
def test_a_call_through_another_architecture_is_killed(caps):
    instructions = bpf_machine.load(compiled(default_profile(caps, "x86_64")))
    assert bpf_machine.answer(instructions, AARCH64, 63) == 0
    assert bpf_machine.answer(instructions, X86_64, 0x40000000 | 1) == 0, "x32"


NOBODY_NEEDS = """
    io_uring_setup io_uring_enter io_uring_register userfaultfd keyctl add_key request_key kexec_load kexec_file_load swapon
    swapoff nfsservctl uselib ustat sysfs move_pages migrate_pages
"""


@CAPS
def test_no_capability_opens_the_calls_that_nobody_needs(caps):
    instructions = bpf_machine.load(compiled(default_profile(caps, "x86_64")))
    for name in NOBODY_NEEDS.split():
        number = LIBRARY.seccomp_syscall_resolve_name_arch(X86_64, name.encode())
        assert number >= 0, name
        assert bpf_machine.answer(instructions, X86_64, number) in {ERRNO | 1, ENOSYS}, name


@CAPS
def test_no_capability_opens_the_kernels_cryptography_or_the_virtual_machines_host(caps):
    instructions = bpf_machine.load(compiled(default_profile(caps, "x86_64")))
    for family in (38, 40):
        assert bpf_machine.answer(instructions, X86_64, 41, (family,)) == ERRNO | 1
        assert bpf_machine.answer(instructions, X86, 359, (family,)) == ERRNO | 1


def test_the_socketcall_of_32_bit_programs_opens_no_socket():
    instructions = bpf_machine.load(compiled(default_profile(DEFAULT_CAPS, "x86_64")))
    assert bpf_machine.answer(instructions, X86, SOCKETCALLS, (SYS_SOCKET,)) == ERRNO | 1
    assert {bpf_machine.answer(instructions, X86, SOCKETCALLS, (call,)) for call in range(2, 21)} == {ALLOW}
    assert bpf_machine.answer(instructions, X86, SOCKETCALLS, (0,)) == ERRNO | 1


def test_an_image_of_32_bits_may_have_its_socketcall():
    profile = default_profile(DEFAULT_CAPS, "x86_64", socketcall=True)
    instructions = bpf_machine.load(compiled(profile))
    assert bpf_machine.answer(instructions, X86, SOCKETCALLS, (SYS_SOCKET,)) == ALLOW


def test_a_call_younger_than_the_profile_gets_enosys_and_one_it_left_out_gets_its_own_errno():
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 13,
        "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}],
    }
    instructions = bpf_machine.load(compiled(profile))
    assert bpf_machine.answer(instructions, X86_64, 436) == ERRNO | 13
    assert bpf_machine.answer(instructions, X86_64, 438) == ENOSYS


PODMAN = Path("/usr/share/containers/seccomp.json")
# What Podman's profile refuses without capabilities and ours allows, and why.
ALLOWED_BEYOND_PODMAN = {
    "vmsplice": "Docker allows it; splicing into a pipe has needed no trust since Linux 5.8 (CVE-2020-29374)",
    "io_pgetevents": "the same as io_getevents, which Podman allows, with a signal mask",
    "io_pgetevents_time64": "as io_pgetevents",
}
YOUNGER_THAN_PODMANS = """
    cachestat fchmodat2 futex_requeue futex_wait futex_waitv futex_wake getxattrat listmount listxattrat map_shadow_stack mseal
    removexattrat setxattrat statmount uretprobe
"""
ALLOWED_BEYOND_PODMAN |= dict.fromkeys(YOUNGER_THAN_PODMANS.split(), "Docker allows it; a variant of what both allow")


@pytest.mark.skipif(not PODMAN.exists(), reason="Podman's profile is not installed")
@pytest.mark.skipif(const.MACHINE != "x86_64", reason="compares x86-64 numbers")
def test_nothing_that_podman_refuses_is_allowed_without_a_reason():
    theirs = seccomp.load_profile(str(PODMAN), frozenset(), "x86_64")
    their_filter = bpf_machine.load(compiled(theirs))
    our_filter = bpf_machine.load(compiled(default_profile(frozenset(), "x86_64")))
    arguments = [(0,) * 6, (1,) * 6, (16, 3, 9, 0, 0, 0), (38,), (40,), (0x20000,), (0x10000000,), (2**32 - 1,) * 6]
    beyond = set()
    for token in (X86_64, X86):
        for number, name in names(token).items():
            for values in arguments:
                allowed = bpf_machine.answer(our_filter, token, number, values) == ALLOW
                if allowed and bpf_machine.answer(their_filter, token, number, values) != ALLOW:
                    beyond.add((name, values) if name == "socket" else name)
    # Podman refuses NETLINK_AUDIT without CAP_AUDIT_WRITE; the kernel asks for that capability itself.
    beyond.discard(("socket", (16, 3, 9, 0, 0, 0)))
    assert beyond <= ALLOWED_BEYOND_PODMAN.keys()


@pytest.mark.skipif(not PODMAN.exists(), reason="Podman's profile is not installed")
def test_podmans_profile_compiles_for_every_set_of_capabilities():
    for caps in (frozenset(), DEFAULT_CAPS, ALL_CAPS):
        program, _ = seccomp.compile_filter(seccomp.load_profile(str(PODMAN), caps))
        bpf_machine.check(bpf_machine.load(program))


PINNED = {1: "96fdccdd0a9d74ae"}


def test_the_default_profile_has_not_changed_without_its_version():
    import hashlib

    text = json.dumps([default_profile(caps, m) for caps in (frozenset(), ALL_CAPS) for m in ("x86_64", "aarch64")])
    seen = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert {seccomp.PROFILE_VERSION: seen} == PINNED, "change PROFILE_VERSION in seccomp.py and this pin together"


def test_every_deciding_capability_has_its_bit_in_the_name_of_the_filter():
    assert set(seccomp._DECIDING) == seccomp_default.deciding_capabilities()
