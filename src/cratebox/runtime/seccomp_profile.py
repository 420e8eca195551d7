"""Reading seccomp profiles: OCI runtime-spec's linux.seccomp (config-linux.md, Seccomp), and Docker's file format over it.

Docker's format (`--security-opt seccomp=FILE`) adds conditions: a rule may be for some capabilities, architectures or
kernels only (`includes`, `excludes`), and `archMap` lists the lesser architectures of each machine. Podman adds the errno's name beside
its number. Whatever is not known is refused: what a security profile says must not be lost by a spelling mistake.
"""

from __future__ import annotations

import errno
import os

from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ACTIONS = frozenset(
    "SCMP_ACT_" + name for name in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY")
)
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

_PROFILE_FIELDS = frozenset({"defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata", "syscalls"})  # fmt: skip
_RULE_FIELDS = frozenset({"names", "action", "errnoRet", "args"})
_DOCKER_PROFILE_FIELDS = _PROFILE_FIELDS | {"archMap", "defaultErrno", "comment"}
_DOCKER_RULE_FIELDS = _RULE_FIELDS | {"name", "comment", "includes", "excludes", "errno"}


def checked(seccomp: Any) -> dict[str, Any]:
    """Return an OCI linux.seccomp whose every field has been checked, `architectures` and `syscalls` always there.

    Raises InvalidValue and names the field.
    """
    _object(seccomp, "seccomp", _PROFILE_FIELDS)
    action, number = _action(seccomp.get("defaultAction"), seccomp.get("defaultErrnoRet"), "seccomp.defaultAction")
    profile: dict[str, Any] = {"defaultAction": action}
    if number is not None:
        profile["defaultErrnoRet"] = number
    profile["architectures"] = _words(seccomp.get("architectures"), "seccomp.architectures", _ARCHITECTURES)
    flags = _words(seccomp.get("flags"), "seccomp.flags", _FLAGS)
    if flags:
        profile["flags"] = flags
    for field in ("listenerPath", "listenerMetadata"):
        if seccomp.get(field):
            profile[field] = _text(seccomp[field], f"seccomp.{field}")
    profile["syscalls"] = [
        _rule(rule, f"seccomp.syscalls[{index}]")
        for index, rule in enumerate(_list(seccomp.get("syscalls"), "seccomp.syscalls"))
    ]
    return profile


def resolve_profile(document: Any, caps: frozenset[str], machine: str) -> dict[str, Any]:
    """Return the OCI linux.seccomp of a parsed profile file in Docker's or in OCI's form.

    `caps` is the container's bounding set ("CAP_..."), `machine` "x86_64" or "aarch64"; conditions on the kernel are
    answered for the one that runs. Raises InvalidValue and names the field.
    """
    _object(document, "seccomp", _DOCKER_PROFILE_FIELDS)
    if document.get("architectures") and document.get("archMap"):
        raise InvalidValue("seccomp: the profile has both architectures and archMap; use one of them")
    profile = {field: document[field] for field in sorted(_PROFILE_FIELDS & document.keys())}
    _check_errno_name(document.get("defaultErrno"), document.get("defaultErrnoRet"), "seccomp.defaultErrno")
    if document.get("archMap"):
        profile["architectures"] = _from_arch_map(document["archMap"], machine)
    profile["syscalls"] = []
    for index, rule in enumerate(_list(document.get("syscalls"), "seccomp.syscalls")):
        where = f"seccomp.syscalls[{index}]"
        _object(rule, where, _DOCKER_RULE_FIELDS)
        if not _holds(rule, where, caps, machine):
            continue
        _check_errno_name(rule.get("errno"), rule.get("errnoRet"), f"{where}.errno")
        kept = {field: rule[field] for field in sorted(_RULE_FIELDS & rule.keys())}
        if rule.get("name"):
            if rule.get("names"):
                raise InvalidValue(f"seccomp: {where} has both name and names; use names")
            kept["names"] = [rule["name"]]
        profile["syscalls"].append(kept)
    return checked(profile)


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


def _rule(rule: Any, where: str) -> dict[str, Any]:
    _object(rule, where, _RULE_FIELDS)
    names = _words(rule.get("names"), f"{where}.names")
    if not names:
        raise InvalidValue(f"seccomp: {where} names no system call")
    action, number = _action(rule.get("action"), rule.get("errnoRet"), f"{where}.action")
    kept: dict[str, Any] = {"names": names, "action": action}
    if number is not None:
        kept["errnoRet"] = number
    arguments = [_argument(a, f"{where}.args[{n}]") for n, a in enumerate(_list(rule.get("args"), f"{where}.args"))]
    if len({argument["index"] for argument in arguments}) < len(arguments):
        # libseccomp takes one comparison an argument; runc reads several as alternatives, the specification as all of
        # them together. A profile must not mean one thing here and another there.
        raise InvalidValue(f"seccomp: {where} compares one argument twice", "write one rule for each comparison")
    if arguments:
        kept["args"] = arguments
    return kept


def _argument(value: Any, where: str) -> dict[str, Any]:
    _object(value, where, frozenset({"index", "value", "valueTwo", "op"}))
    if not isinstance(value.get("op"), str) or value["op"] not in _OPERATORS:
        raise InvalidValue(f"seccomp: {where}.op: {value.get('op')!r} is not an operator (SCMP_CMP_EQ, ...)")
    return {
        "index": _number(value.get("index"), f"{where}.index", 5),
        "value": _number(value.get("value"), f"{where}.value", 2**64 - 1),
        "valueTwo": _number(value.get("valueTwo", 0), f"{where}.valueTwo", 2**64 - 1),
        "op": value["op"],
    }


def _action(name: Any, number: Any, where: str) -> tuple[str, int | None]:
    if not isinstance(name, str) or name not in _ACTIONS:
        raise InvalidValue(f"seccomp: {where}: {name!r} is not an action (SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, ...)")
    if number is None:
        return name, None
    if name not in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}:
        raise InvalidValue(f"seccomp: {where}: {name} takes no errno")
    return name, _number(number, f"the errno of {where}", 4095 if name == "SCMP_ACT_ERRNO" else 65535)


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


def _number(value: Any, where: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidValue(f"seccomp: {where}: {value!r} is not a number from 0 to {most}")
    return value
