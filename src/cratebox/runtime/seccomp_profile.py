"""Reading seccomp profiles: OCI runtime-spec's linux.seccomp (config-linux.md, Seccomp), and Docker's file format over it.

Docker's format (`--security-opt seccomp=FILE`) adds conditions: a rule may be for some capabilities, architectures or
kernels only (`includes`, `excludes`), and `archMap` lists the lesser architectures of each machine. Podman adds the errno's
name beside its number. Whatever is not known is refused: what a security profile says must not be lost by a spelling mistake.
"""

from __future__ import annotations

import errno
import os

from cratebox import document
from cratebox.errors import InvalidValue
from cratebox.runtime.spec import Seccomp, SeccompArg, Syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ACTIONS = frozenset(
    "SCMP_ACT_" + name for name in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY")
)
_NOTIFY = "SCMP_ACT_NOTIFY"
_OPERATORS = frozenset("SCMP_CMP_" + name for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_ARCHITECTURE_NAMES = """
    X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64
    RISCV64 LOONGARCH64 M68K SH SHEB
"""
_ARCHITECTURES = frozenset("SCMP_ARCH_" + name for name in _ARCHITECTURE_NAMES.split())
_FLAGS = frozenset(
    "SECCOMP_FILTER_FLAG_" + name for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")
)  # fmt: skip
_DOCKER_MACHINE = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}

_RULE_FIELDS = frozenset({"names", "action", "errnoRet", "args"})
_PROFILE_FIELDS = frozenset(document.key(name) for name in Seccomp._fields)
_DOCKER_PROFILE_FIELDS = _PROFILE_FIELDS | {"archMap", "defaultErrno", "comment"}
_DOCKER_RULE_FIELDS = _RULE_FIELDS | {"name", "comment", "includes", "excludes", "errno"}
_ARGUMENT_FIELDS = frozenset({"index", "value", "valueTwo", "op"})


def check(seccomp: Seccomp) -> None:
    """Look at every field of an OCI linux.seccomp. Raises InvalidValue and names the field."""
    _check_action(seccomp.default_action, seccomp.default_errno_ret, "seccomp.defaultAction")
    for field, words, known in (("architectures", seccomp.architectures, _ARCHITECTURES), ("flags", seccomp.flags, _FLAGS)):
        for word in words:
            if word not in known:
                raise InvalidValue(f"seccomp: seccomp.{field}: {word!a} is not known")
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise InvalidValue("seccomp: seccomp.listenerMetadata without seccomp.listenerPath: there is nobody to send it to")
    if seccomp.default_action == _NOTIFY:
        raise InvalidValue(f"seccomp: seccomp.defaultAction: {_NOTIFY} would stop the runtime itself before anybody listens")
    for number, rule in enumerate(seccomp.syscalls):
        _check_rule(rule, f"seccomp.syscalls[{number}]")
        if rule.action == _NOTIFY:
            _check_notify(rule, f"seccomp.syscalls[{number}]", seccomp.listener_path)


def _check_notify(rule: Syscall, where: str, listener: str) -> None:
    if not listener.startswith("/"):
        raise InvalidValue(f"seccomp: {where}.action: {_NOTIFY} without seccomp.listenerPath, an absolute path")
    if "sendmsg" in rule.names:  # what the descriptor itself goes to its listener by
        raise InvalidValue(f"seccomp: {where}: {_NOTIFY} for sendmsg would stop the runtime itself before anybody listens")


def _check_rule(rule: Syscall, where: str) -> None:
    if not rule.names:
        raise InvalidValue(f"seccomp: {where}.names names no system call")
    for name in rule.names:
        if not name or not name.isascii():
            raise InvalidValue(f"seccomp: {where}.names: {name!a} is no name of a system call")
    _check_action(rule.action, rule.errno_ret, f"{where}.action")
    for number, argument in enumerate(rule.args):
        _check_argument(argument, f"{where}.args[{number}]")
    if len({argument.index for argument in rule.args}) < len(rule.args):
        # libseccomp takes one comparison an argument; runc reads several as alternatives, the specification as all of
        # them together. A profile must not mean one thing here and another there.
        raise InvalidValue(f"seccomp: {where}.args compares one argument twice", "write one rule for each comparison")


def _check_argument(argument: SeccompArg, where: str) -> None:
    if argument.op not in _OPERATORS:
        raise InvalidValue(f"seccomp: {where}.op: {argument.op!a} is not an operator (SCMP_CMP_EQ, ...)")
    _check_number(argument.index, f"{where}.index", 5)
    _check_number(argument.value, f"{where}.value", 2**64 - 1)
    _check_number(argument.value_two, f"{where}.valueTwo", 2**64 - 1)


def _check_action(name: str, number: int | None, where: str) -> None:
    if name not in _ACTIONS:
        raise InvalidValue(f"seccomp: {where}: {name!a} is not an action (SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, ...)")
    if number is None:
        return
    if name not in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}:
        raise InvalidValue(f"seccomp: {where}: {name} takes no errno")
    _check_number(number, f"the errno of {where}", 4095 if name == "SCMP_ACT_ERRNO" else 65535)


def _check_number(number: int, where: str, most: int) -> None:
    if not 0 <= number <= most:
        raise InvalidValue(f"seccomp: {where}: {number} is not a number from 0 to {most}")


def resolve_profile(parsed: Any, caps: frozenset[str], machine: str) -> Seccomp:
    """Return the OCI linux.seccomp of a parsed profile file in Docker's or in OCI's form.

    `caps` is the container's bounding set ("CAP_..."), `machine` "x86_64" or "aarch64"; conditions on the kernel are
    answered for the one that runs. Raises InvalidValue and names the field.
    """
    _object(parsed, "seccomp", _DOCKER_PROFILE_FIELDS)
    if parsed.get("architectures") and parsed.get("archMap"):
        raise InvalidValue("seccomp: the profile has both architectures and archMap; use one of them")
    profile = {field: parsed[field] for field in sorted(_PROFILE_FIELDS & parsed.keys())}
    _check_errno_name(parsed.get("defaultErrno"), parsed.get("defaultErrnoRet"), "seccomp.defaultErrno")
    if parsed.get("archMap"):
        profile["architectures"] = _from_arch_map(parsed["archMap"], machine)
    profile["syscalls"] = []
    for index, rule in enumerate(_list(parsed.get("syscalls"), "seccomp.syscalls")):
        where = f"seccomp.syscalls[{index}]"
        _object(rule, where, _DOCKER_RULE_FIELDS)
        if _holds(rule, where, caps, machine):
            profile["syscalls"].append(_kept(rule, where))
    resolved = document.decode(Seccomp, profile, "seccomp")
    check(resolved)
    return resolved


def _kept(rule: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a rule of Docker's form in OCI's."""
    _check_errno_name(rule.get("errno"), rule.get("errnoRet"), f"{where}.errno")
    for number, argument in enumerate(_list(rule.get("args"), f"{where}.args")):
        _object(argument, f"{where}.args[{number}]", _ARGUMENT_FIELDS)
    kept = {field: rule[field] for field in sorted(_RULE_FIELDS & rule.keys())}
    if rule.get("name"):
        if rule.get("names"):
            raise InvalidValue(f"seccomp: {where} has both name and names; use names")
        kept["names"] = [rule["name"]]
    return kept


def _from_arch_map(entries: Any, machine: str) -> list[str]:
    chosen: list[str] = []
    for index, entry in enumerate(_list(entries, "seccomp.archMap")):
        where = f"seccomp.archMap[{index}]"
        _object(entry, where, frozenset({"architecture", "subArchitectures"}))
        first = _words([entry.get("architecture")], f"{where}.architecture", _ARCHITECTURES)
        others = _words(entry.get("subArchitectures"), f"{where}.subArchitectures", _ARCHITECTURES)
        if first == [_DOCKER_MACHINE[machine][1]] and not chosen:
            chosen = first + others
    return chosen


def _holds(rule: dict[str, Any], where: str, caps: frozenset[str], machine: str) -> bool:
    """Say whether the conditions of a rule hold: none of `excludes` (any one excludes), and all of `includes`."""
    excludes = _conditions(rule.get("excludes"), f"{where}.excludes", caps, machine)
    includes = _conditions(rule.get("includes"), f"{where}.includes", caps, machine)
    return not any(any(answers) for answers in excludes) and all(
        all(answers) if kind == "caps" else any(answers) for kind, answers in zip(_CONDITIONS, includes, strict=True) if answers
    )


_CONDITIONS = ("caps", "arches", "minKernel")


def _conditions(value: Any, where: str, caps: frozenset[str], machine: str) -> tuple[list[bool], list[bool], list[bool]]:
    """Return the answers to each of the conditions in `value`, by kind (`_CONDITIONS`)."""
    if value is None:
        return [], [], []
    _object(value, where, frozenset(_CONDITIONS))
    of_caps = [name in caps for name in _words(value.get("caps"), f"{where}.caps")]
    of_arches = [name == _DOCKER_MACHINE[machine][0] for name in _words(value.get("arches"), f"{where}.arches")]
    minimum = value.get("minKernel")
    of_kernel = [_kernel(os.uname().release) >= _kernel(_text(minimum, f"{where}.minKernel"), where)] if minimum else []
    return of_caps, of_arches, of_kernel


def _kernel(release: str, where: str = "") -> tuple[int, int]:
    """Return version and first revision of a kernel release: (6, 18) of "6.18.44-generic"; strict where `where` is given."""
    major, _, rest = release.partition(".")
    minor = rest if where else rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit() and len(major + minor) < 9):
        raise InvalidValue(f"seccomp: {where}.minKernel: {release!r} is not of the form 4.8")
    return int(major), int(minor)


def _check_errno_name(name: Any, number: Any, where: str) -> None:
    """Podman writes the name of an errno beside its number: the two must agree."""
    if name is None or name == "":
        return
    if not isinstance(name, str) or getattr(errno, name, None) is None or getattr(errno, name) != number:
        raise InvalidValue(f"seccomp: {where}: {name!r} is not the name of errno {number}")


def _object(value: Any, where: str, fields: frozenset[str]) -> None:
    if not isinstance(value, dict):
        raise InvalidValue(f"seccomp: {where} is not an object")
    unknown = sorted(value.keys() - fields)
    if unknown:
        raise InvalidValue(f"seccomp: {where} has an unknown field {unknown[0]!r}")


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidValue(f"seccomp: {where} is not a list")
    return value


def _words(value: Any, where: str, allowed: frozenset[str] | None = None) -> list[str]:
    words = [_text(word, where) for word in _list(value, where)]
    for word in words:
        if allowed is not None and word not in allowed:
            raise InvalidValue(f"seccomp: {where}: {word!r} is not known")
    return words


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValue(f"seccomp: {where}: {value!r} is not a text")
    return value
