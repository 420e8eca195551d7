"""crate info: what crate found on this machine."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FORMAT = Flag("format", "f", "FORMAT", "json, or a template as '{{.Name}}'")

COMMAND = Command(
    name="info",
    arguments="",
    summary="Show what crate found on this machine",
    flags=(FORMAT,),
    description="""Show how many containers and images there are, where state lives, what the kernel offers, how cgroups and
networks are done, which settings of registries and which policy for images were found, and what is missing here with what mends
it. With --format Docker's names of fields, as `docker info` has them.""",
    examples=(
        ("crate info -f json", "for a program, or for a bug report"),
        ("crate info -f '{{.CgroupVersion}} {{.MemoryLimit}}'", "whether memory can be limited"),
    ),
    exit_codes=(("0", "always, save where the state cannot be read (125)"),),
)


def show(values: dict[str, Any], form: str | None, lines: Iterable[str]) -> None:
    """Print named values as --format says; without it, `lines` for people."""
    if not form:
        for text in lines:
            render.line(text)
    elif form == "json":
        sys.stdout.write(render.json_line(values) + "\n")
    else:
        from cratebox.cli import template

        render.line(template.parse(template.unescape(form)).show(values), keep="\n\t")


def main(words: Words) -> int:
    """Print it."""
    values = open_engine(words).info()
    show(values, words.text("format"), _lines(values) if not words.text("format") else ())
    return 0


def _lines(values: dict[str, Any]) -> Iterable[str]:
    """Docker's layout: a line a fact, what belongs to it a space deeper."""
    yield f"Containers: {values['Containers']}"
    for state in ("Running", "Paused", "Stopped"):
        yield f" {state}: {values[f'Containers{state}']}"
    yield f"Images: {values['Images']}"
    yield f"Version: {values['ServerVersion']}"
    yield f"Storage Driver: {values['Driver']}"
    for name, value in values["DriverStatus"]:
        yield f" {name}: {value}"
    yield f"Logging Driver: {values['LoggingDriver']} (of {' '.join(values['Plugins']['Log'])})"
    yield f"Cgroup Driver: {values['CgroupDriver']}" + (f" ({values['CgroupReason']})" if values["CgroupReason"] else "")
    yield f"Cgroup Version: {values['CgroupVersion']}"
    yield f"Limits: {' '.join(word for name, word in _LIMITS.items() if values[name]) or 'none'}"
    yield f"Networks: {' '.join(values['Networks'])}"
    yield f"Default Runtime: {values['DefaultRuntime']}"
    yield "Security Options:"
    for option in values["SecurityOptions"]:
        yield f" {option.removeprefix('name=')}"
    yield from _place(values)
    yield from _registries(values)
    for text in values["Warnings"]:
        yield f"WARNING: {text}"


def _registries(values: dict[str, Any]) -> Iterable[str]:
    from cratebox.engine.registries import policy_line

    registries = values["RegistryConfig"]
    plain = [name for name, each in registries["IndexConfigs"].items() if not each["Secure"]]
    lists = {
        "Insecure Registries": [*plain, *registries["InsecureRegistryCIDRs"]],
        "Registry Mirrors": registries["Mirrors"],
        "Blocked Registries": values["BlockedRegistries"],
        "Registry Files": values["RegistryFiles"],
    }
    for name, entries in lists.items():
        if entries:
            yield f"{name}:"
            yield from (f" {each}" for each in entries)
    yield f"Image Policy: {policy_line(values['ImagePolicy'])}"


_LIMITS = {
    "MemoryLimit": "memory", "SwapLimit": "memory-swap", "CpuCfsQuota": "cpus", "CPUShares": "cpu-shares", "CPUSet": "cpuset",
    "PidsLimit": "pids", "BlkioWeight": "blkio-weight", "OomKillDisable": "oom-kill-disable",
}  # fmt: skip


def _place(values: dict[str, Any]) -> Iterable[str]:
    names = {"KernelVersion": "Kernel Version", "OperatingSystem": "Operating System", "OSType": "OSType",
             "Architecture": "Architecture", "NCPU": "CPUs"}  # fmt: skip
    for name, label in names.items():
        yield f"{label}: {values[name]}"
    yield f"Total Memory: {values['MemTotal'] / 2**30:.4g}GiB"
    yield f"Name: {values['Name']}"
    yield f"Rootless: {'true' if values['Rootless'] else 'false'} ({values['IDs']} IDs)"
    yield f"Root Dir: {values['CrateRootDir']}"
    yield f"State Dir: {values['CrateStateDir']}"
