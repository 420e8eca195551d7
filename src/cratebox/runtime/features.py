"""What crate-oci knows of the specification (features.md, features-linux.md): what a spec may say, whether or not this machine
has it. Made of the tables that specs are read with, and of what the validator says to a spec that has one property more.

Not for the hot path: libseccomp's side is imported.
"""

from __future__ import annotations

from cratebox import document
from cratebox.cgroup import detect
from cratebox.cgroup.model import Resources
from cratebox.errors import CrateError
from cratebox.linux import caps
from cratebox.runtime import mount_options, spec, validate
from cratebox.runtime.seccomp_compile import _ACTIONS as COMPILED_ACTIONS
from cratebox.runtime.seccomp_compile import _FLAGS as COMPILED_FLAGS
from cratebox.runtime.seccomp_profile import _ACTIONS as ACTIONS
from cratebox.runtime.seccomp_profile import _ARCHITECTURES as ARCHITECTURES
from cratebox.runtime.seccomp_profile import _FLAGS as FLAGS
from cratebox.runtime.seccomp_profile import _OPERATORS as OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST = "1.0.0"
_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
_MEMORY_MODES = ("DEFAULT", "BIND", "INTERLEAVE", "WEIGHTED_INTERLEAVE", "PREFERRED", "PREFERRED_MANY", "LOCAL")
_MEMORY_FLAGS = ("NUMA_BALANCING", "RELATIVE_NODES", "STATIC_NODES")
_WITHOUT_NODES = ("DEFAULT", "LOCAL")
_MAP = [{"containerID": 0, "hostID": 100000, "size": 1}]


def features() -> dict[str, Any]:
    """Return the Features structure, parsed; its annotations have room for those of the command line."""
    hooks = map(document.key, spec.Hooks._fields)
    return {
        "ociVersionMin": OLDEST,
        "ociVersionMax": spec.VERSION,
        "hooks": [name for name in hooks if _takes(hooks={name: [{"path": "/hook"}]})],
        "mountOptions": mount_options.words(),
        "linux": {
            "namespaces": [kind for kind in _NAMESPACES if _takes(linux={"namespaces": _with(kind)})],
            "capabilities": list(caps.NAMES),
            "cgroup": _cgroup(),
            "seccomp": _seccomp(),
            "apparmor": {"enabled": _takes(process={"apparmorProfile": "a"})},
            "selinux": {"enabled": _takes(process={"selinuxLabel": "a:b:c:d"})},
            "intelRdt": _intel_rdt(),
            "memoryPolicy": _memory_policy(),
            "mountExtensions": {"idmap": {"enabled": _takes(mounts=[_IDMAPPED])}},
            "netDevices": {"enabled": _takes(linux={"netDevices": {"eth0": {}}, "namespaces": _with("network")})},
        },
        "annotations": {},
    }


_IDMAPPED = {"destination": "/a", "type": "bind", "source": "/a", "options": ["bind"], "uidMappings": _MAP, "gidMappings": _MAP}


def _takes(*, process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None, **properties: Any) -> bool:
    """Tell whether the smallest spec is one that is done also with these properties."""
    smallest: dict[str, Any] = {
        "ociVersion": spec.VERSION,
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["true"]} | (process or {}),
        "linux": {"namespaces": _with()} | (linux or {}),
    }
    if any(one["type"] == "user" for one in smallest["linux"]["namespaces"]):
        smallest["linux"] |= {"uidMappings": _MAP, "gidMappings": _MAP}
    try:
        validate.validate(spec.decode(smallest | properties))
    except CrateError:
        return False
    return True


def _with(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in dict.fromkeys(("mount", "pid", *kinds))]


def _cgroup() -> dict[str, bool]:
    by_systemd = "systemd" in detect.DRIVERS
    return {"v1": True, "v2": True, "systemd": by_systemd, "systemdUser": by_systemd, "rdma": "rdma" in Resources._fields}


def _seccomp() -> dict[str, Any]:
    return {
        "enabled": True,
        "actions": sorted(ACTIONS.intersection(COMPILED_ACTIONS)),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(FLAGS.intersection(COMPILED_FLAGS)),
    }


def _intel_rdt() -> dict[str, bool]:
    return {
        "enabled": _takes(linux={"intelRdt": {"closID": "a"}}),
        "schemata": _takes(linux={"intelRdt": {"closID": "a", "schemata": ["L3:0=f"]}}),
        "monitoring": _takes(linux={"intelRdt": {"closID": "a", "enableMonitoring": True}}),
    }


def _memory_policy() -> dict[str, list[str]]:
    """Return the modes and flags of set_mempolicy(2) that a spec may name."""
    modes = [
        f"MPOL_{mode}"
        for mode in _MEMORY_MODES
        if _takes(linux={"memoryPolicy": {"mode": f"MPOL_{mode}", "nodes": "" if mode in _WITHOUT_NODES else "0"}})
    ]
    flags = [
        f"MPOL_F_{flag}"
        for flag in _MEMORY_FLAGS
        if _takes(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [f"MPOL_F_{flag}"]}})
    ]
    return {"modes": modes, "flags": flags}
