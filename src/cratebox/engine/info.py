"""What `crate info` and `crate version` tell."""

from __future__ import annotations

import os
import sys

import cratebox
from cratebox.cgroup import detect
from cratebox.engine.config import NETWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.engine import Engine


def version() -> dict[str, Any]:
    """Return crate's version and what it runs on."""
    system = os.uname()
    return {
        "Version": cratebox.__version__,
        "PythonVersion": ".".join(str(part) for part in sys.version_info[:3]),
        "Os": "linux",
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine),
        "KernelVersion": system.release,
    }


def collect(engine: Engine) -> dict[str, Any]:
    """Return the machine, the store and what containers can have here."""
    system = os.uname()
    statuses = engine.containers.list(all=True)
    driver = detect.driver("", engine.identity.rootless)
    running = sum(one.status == "running" for one in statuses)
    return {
        "Containers": len(statuses),
        "ContainersRunning": running,
        "ContainersStopped": len(statuses) - running,
        "Images": len(engine.images.list()),
        "ServerVersion": cratebox.__version__,
        "Driver": "overlay",
        "LoggingDriver": "file",
        "CgroupDriver": "none" if driver.name == "disabled" else "cgroupfs",
        "CgroupVersion": {"v1": "1", "v2": "2"}.get(driver.name, "none"),
        "CgroupReason": driver.reason,
        "Networks": list(NETWORKS),
        "DefaultNetwork": "host",
        "Rootless": engine.identity.rootless,
        "IDs": sum(one.size for one in engine.identity.uids) if engine.identity.rootless else 2**32 - 1,
        "Notice": engine.identity.notice,
        "Hint": engine.identity.hint,
        "KernelVersion": system.release,
        "OperatingSystem": _system_name(),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": system.nodename,
        "CrateRootDir": engine.paths.root,
        "CrateStateDir": engine.paths.state,
        "SeccompProfile": "default",
    }


def _system_name() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return "Linux"
