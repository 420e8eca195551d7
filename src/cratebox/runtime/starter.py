"""A spec to begin with: a shell on a terminal, the root file system in the directory rootfs beside the file."""

from __future__ import annotations

from cratebox.runtime.spec import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def starter(*, rootless: bool = False, uid: int = 0, gid: int = 0) -> dict[str, Any]:
    """Return a parsed config.json (config.md, config-linux.md); `rootless`: for the ordinary user `uid` and `gid`.

    That one has no more than one ID to give and no network to make: the container is in a user namespace, its terminals belong
    to no group, it stays on the host's network and sees the host's sysfs, which a new one would need a network namespace for.
    """
    return {
        "ociVersion": VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "crate",
        "mounts": _mounts(rootless),
        "linux": _linux(rootless, uid, gid),
    }


def _process() -> dict[str, Any]:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    still = ["nosuid", "noexec", "nodev"]
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *([] if rootless else ["gid=5"])]
    sysfs = (
        _mount("/sys", "none", "/sys", ["rbind", *still, "ro"])
        if rootless
        else _mount("/sys", "sysfs", "sysfs", [*still, "ro"])
    )
    return [
        _mount("/proc", "proc", "proc", []),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", terminals),
        _mount("/dev/shm", "tmpfs", "shm", [*still, "mode=1777", "size=65536k"]),  # noqa: S108  the container's own
        _mount("/dev/mqueue", "mqueue", "mqueue", still),
        sysfs,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*still, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, **({"options": options} if options else {})}


def _linux(rootless: bool, uid: int, gid: int) -> dict[str, Any]:
    kinds = ["pid", "ipc", "uts", "mount", "cgroup", "user" if rootless else "network"]
    own: dict[str, Any] = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    if rootless:
        own = {
            "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
        }
    return {
        **own,
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READONLY),
    }
