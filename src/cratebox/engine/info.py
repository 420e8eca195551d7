"""What `crate info` and `crate version` tell, with Docker's names (its API, SystemInfo and SystemVersion)."""

from __future__ import annotations

import os
import sys

import cratebox
from cratebox.cgroup import detect
from cratebox.engine import capacity, network_settings, registries
from cratebox.engine.config import NETWORKS
from cratebox.engine.log_options import DRIVERS as LOG_DRIVERS
from cratebox.errors import CrateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cratebox.engine.capacity import Capacity
    from cratebox.engine.engine import Engine
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.records import ContainerStatus

DRIVERS = ("bridge", "host", "null")  # of networks

# What a version of cgroups cannot do by its nature is nothing that is missing on this machine.
_OF_ANOTHER_VERSION = ("cgroup v2 has no such thing", "this machine has cgroup v1")


def version() -> dict[str, Any]:
    """Return crate's version and what it runs on. There is no daemon: client and server are the same."""
    from cratebox.runtime.spec import VERSION

    system = os.uname()
    python = ".".join(str(part) for part in sys.version_info[:3])
    crate = {
        "Version": cratebox.__version__,
        "PythonVersion": python,
        "Os": "linux",
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine),
        "KernelVersion": system.release,
    }
    components = {
        "crate": cratebox.__version__,
        "crate-oci": cratebox.__version__,
        "OCI runtime-spec": VERSION,
        "Python": python,
    }
    listed = [{"Name": name, "Version": one} for name, one in components.items()]
    return {"Client": crate, "Server": crate | {"Components": listed}, **crate}


def collect(engine: Engine) -> dict[str, Any]:
    """Return the machine, the store and what containers can have here. Raises StorageError where the state cannot be read."""
    here = capacity.capacity(engine.identity.rootless)
    lacking = capacity.told(here)
    trusted = registries.describe(engine.paths.config)
    return {
        **_containers(engine.containers.list(all=True)),
        "Images": len(engine.images.list()),
        "ServerVersion": cratebox.__version__,
        "Driver": "overlay",
        "DriverStatus": [["Backing Filesystem", _file_system(engine.paths.root)]],
        "LoggingDriver": "json-file",
        **_cgroups(engine.identity),
        "Plugins": {"Volume": ["local"], "Network": list(DRIVERS), "Log": list(LOG_DRIVERS)},
        "Networks": _networks(engine),
        "DefaultNetwork": network_settings.default(engine.paths),
        "Runtimes": {"crate-oci": {"path": "crate-oci"}},
        "DefaultRuntime": "crate-oci",
        "Rootless": engine.identity.rootless,
        "IDs": sum(one.size for one in engine.identity.uids) if engine.identity.rootless else 2**32 - 1,
        "SecurityOptions": _security(engine.identity),
        **_limits(lacking),
        **_machine(),
        **trusted,
        "DockerRootDir": engine.paths.root,
        "CrateRootDir": engine.paths.root,
        "CrateStateDir": engine.paths.state,
        "Notice": engine.identity.notice,
        "Hint": engine.identity.hint,
        "Warnings": [*trusted["Warnings"], *_warnings(here, lacking, engine.identity), *_way_outside(engine.identity)],
    }


def _networks(engine: Engine) -> list[str]:
    """The default one is made when it is needed first; it is there all the same."""
    from cratebox.network import definitions

    made = [one.name for one in definitions.all_of(engine.networks.place)]
    return [*NETWORKS, *(name for name in made if name not in NETWORKS)]


def _containers(statuses: Sequence[ContainerStatus]) -> dict[str, int]:
    paused = sum(one.status == "paused" for one in statuses)
    alive = sum(one.alive for one in statuses)
    return {
        "Containers": len(statuses),
        "ContainersRunning": alive - paused,
        "ContainersPaused": paused,
        "ContainersStopped": len(statuses) - alive,
    }


def _cgroups(identity: Identity) -> dict[str, str]:
    driver = detect.driver("", identity.rootless)
    return {
        "CgroupDriver": "none" if driver.name == "disabled" else "cgroupfs",
        "CgroupVersion": {"v1": "1", "v2": "2"}.get(driver.name, "none"),
        "CgroupReason": driver.reason,
    }


def _security(identity: Identity) -> list[str]:
    return ["name=seccomp,profile=builtin", *(["name=rootless"] if identity.rootless else []), "name=cgroupns"]


def _limits(lacking: Mapping[str, str]) -> dict[str, bool]:
    names = {
        "MemoryLimit": "memory",
        "SwapLimit": "memory-swap",
        "OomKillDisable": "oom-kill-disable",
        "CpuCfsPeriod": "cpu-period",
        "CpuCfsQuota": "cpu-quota",
        "CPUShares": "cpu-shares",
        "CPUSet": "cpuset-cpus",
        "PidsLimit": "pids-limit",
        "BlkioWeight": "blkio-weight",
    }
    return {name: not lacking[flag] for name, flag in names.items()}


def _machine() -> dict[str, Any]:
    system = os.uname()
    return {
        "KernelVersion": system.release,
        "OperatingSystem": _system_name(),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": system.nodename,
    }


def _warnings(here: Capacity, lacking: Mapping[str, str], identity: Identity) -> list[str]:
    """What is missing on this machine: the flags that cannot be had, together where the reason is the same."""
    reasons: dict[str, list[str]] = {}
    for flag, why in lacking.items():
        if why and why not in _OF_ANOTHER_VERSION:
            reasons.setdefault(why, []).append("--" + flag)
    hint = f" ({here.hint})" if here.hint else ""
    found = [f"no {', '.join(flags)}: {why}{hint}" for why, flags in reasons.items()]
    return found + ([identity.notice + (f" ({identity.hint})" if identity.hint else "")] if identity.notice else [])


def _way_outside(identity: Identity) -> list[str]:
    """What keeps an ordinary user's containers from networks that lead anywhere."""
    if not identity.rootless:
        return []
    from cratebox.network import usermode

    try:
        usermode.check(())
    except CrateError as error:
        return [f"only internal networks: {error.message}" + (f" ({error.hint})" if error.hint else "")]
    return []


def _file_system(path: str) -> str:
    """Return the type of the file system that a directory is on, there or not."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:  # proc(5): ID parent MAJOR:MINOR root target options - TYPE source
                fields = line.split()
                if fields[2] == wanted:
                    return fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    return "unknown"


def _system_name() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return "Linux"
