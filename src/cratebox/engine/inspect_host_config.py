"""HostConfig: what a container takes from this machine, in the words of `docker inspect`."""

from __future__ import annotations

from cratebox.engine.config import ContainerConfig, Namespaces
from cratebox.engine.device_words import GPU
from cratebox.engine.inspect_limits import limits_of
from cratebox.engine.inspect_network import bindings_of
from cratebox.engine.records import Container
from cratebox.engine.specgen import MASKED, READONLY, still_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.mounts import MountWish


def host_config_of(container: Container) -> dict[str, Any]:
    """Return the section. Docker writes null for most lists in which there is nothing."""
    config = container.config
    return {
        **_life(config),
        **_files(config),
        **_namespaces(config),
        **_security(config),
        **limits_of(config),
        **_network(config),
        **_devices(config),
    }


def _life(config: ContainerConfig) -> dict[str, Any]:
    policy, _, retries = config.restart.partition(":")
    return {
        "AutoRemove": config.remove,
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(retries or 0)},
        "LogConfig": {"Type": config.log_driver, "Config": dict(sorted(config.log_options.items()))},
        "ContainerIDFile": "",
        "ConsoleSize": [0, 0],
        "Init": config.init,
        "InitPath": config.init_path,
        "Annotations": dict(sorted(config.annotations.items())),
        "Runtime": "crate-oci",
        "Isolation": "",
    }


def _files(config: ContainerConfig) -> dict[str, Any]:
    return {
        "Binds": [bind_of(one) for one in config.mounts if one.kind != "tmpfs" and not one.anonymous and not _is_long(one)]
        or None,
        **({"Mounts": longer} if (longer := [_long(one) for one in config.mounts if _is_long(one)]) else {}),
        "Tmpfs": {one.target: ",".join(one.options) for one in config.mounts if one.kind == "tmpfs"},
        "VolumeDriver": "",
        "VolumesFrom": list(config.volumes_from) or None,
        "ReadonlyRootfs": config.read_only,
    }


def _is_long(one: MountWish) -> bool:
    """Tell whether a volume is more than -v can say."""
    return bool(one.subpath or one.driver_options or (one.labels and not one.anonymous))


def _long(one: MountWish) -> dict[str, Any]:
    """Return a volume as --mount says it."""
    return {
        "Type": "volume",
        "Source": "" if one.anonymous else one.source,
        "Target": one.target,
        "ReadOnly": one.read_only,
        "VolumeOptions": {
            "NoCopy": not one.copy,
            "Labels": one.labels or None,
            "DriverConfig": {"Name": "local", "Options": one.driver_options} if one.driver_options else None,
            "Subpath": one.subpath,
        },
    }


def bind_of(one: MountWish) -> str:
    """Return a bind mount or a volume as -v says it: SOURCE:TARGET:OPTIONS."""
    words = (("ro", one.read_only), ("nocopy", not one.copy), ("U", one.chown), (_idmap(one), bool(one.idmap)))
    options = ",".join([*(word for word, said in words if said), *one.options])
    return f"{one.source}:{one.target}" + (f":{options}" if options else "")


def _idmap(one: MountWish) -> str:
    return "idmap" if one.idmap == "container" else "idmap=" + one.idmap


def _namespaces(config: ContainerConfig) -> dict[str, Any]:
    joined = config.namespaces
    return {
        "NetworkMode": config.network,
        "IpcMode": joined.ipc or "private",
        "PidMode": joined.pid,
        "UTSMode": joined.uts,
        "UsernsMode": "private" if joined.user == "map" else joined.user,
        **({"IDMappings": _maps(joined)} if joined.uid_map or joined.gid_map else {}),
        "CgroupnsMode": joined.cgroup or "private",
        "Cgroup": "",
        "Sysctls": dict(sorted(config.sysctl.items())),
    }


def _maps(joined: Namespaces) -> dict[str, list[str]]:
    """As Podman shows them."""
    both = {"UidMap": joined.uid_map, "GidMap": joined.gid_map}
    return {name: [f"{one.inside}:{one.outside}:{one.size}" for one in maps] for name, maps in both.items()}


def _security(config: ContainerConfig) -> dict[str, Any]:
    options = [
        *(["no-new-privileges"] if config.no_new_privileges else []),
        *([f"seccomp={config.seccomp}"] if config.seccomp != "default" else []),
        *([f"apparmor={config.apparmor}"] if config.apparmor else []),
        *(f"mask={path}" for path in config.masked),
        *(f"unmask={path}" for path in config.unmasked),
    ]
    return {
        "Privileged": config.privileged,
        "CapAdd": list(config.cap_add) or None,
        "CapDrop": list(config.cap_drop) or None,
        "SecurityOpt": options or None,
        "GroupAdd": list(config.group_add) or None,
        "MaskedPaths": None if config.privileged else [*still_hidden(MASKED, config.unmasked), *config.masked],
        "ReadonlyPaths": None if config.privileged else list(still_hidden(READONLY, config.unmasked)),
    }


def _network(config: ContainerConfig) -> dict[str, Any]:
    return {
        "PortBindings": bindings_of(config.ports),
        "PublishAllPorts": config.publish_all,
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": list(config.add_host) or None,
        "Links": None,
    }


def _devices(config: ContainerConfig) -> dict[str, Any]:
    requests = [
        {
            "Driver": "cdi",
            "Count": 0,
            "DeviceIDs": [name],
            "Capabilities": [["gpu"]] if name.startswith(GPU) else [],
            "Options": {},
        }
        for name in config.cdi_devices
    ]
    return {
        "Devices": [
            {"PathOnHost": one.source, "PathInContainer": one.target, "CgroupPermissions": one.access} for one in config.devices
        ],
        "DeviceCgroupRules": list(config.device_rules) or None,
        "DeviceRequests": requests or None,
    }
