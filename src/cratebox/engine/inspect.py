"""Containers and images in the form of `docker inspect`, as far as crate knows what Docker shows there."""

from __future__ import annotations

from datetime import UTC, datetime

from cratebox.engine import records
from cratebox.engine.specgen import capabilities_of, command_of
from cratebox.errors import InvalidValue
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.store import StoredImage

_NEVER = "0001-01-01T00:00:00Z"


def _time(seconds: float | None) -> str:
    if not seconds:
        return _NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def container_document(paths: Paths, container: records.Container, status: records.ContainerStatus) -> dict[str, Any]:
    """Return the document of a container and its present status."""
    config, defaults = container.config, container.defaults
    try:
        command = command_of(config, defaults)
    except InvalidValue:
        command = ()
    where = records.directory(paths, container.id)
    return {
        "Id": container.id,
        "Created": _time(container.created),
        "Path": command[0] if command else "",
        "Args": list(command[1:]),
        "State": {
            "Status": status.status,
            "Running": status.status == "running",
            "Paused": False,
            "Restarting": False,
            "Dead": status.status == "dead",
            "Pid": status.pid,
            "ExitCode": status.exit_code or 0,
            "Error": status.error,
            "StartedAt": _time(status.started_at),
            "FinishedAt": _time(status.finished_at),
        },
        "Image": container.image_id,
        "ResolvConfPath": where + "/resolv.conf",
        "HostnamePath": where + "/hostname",
        "HostsPath": where + "/hosts",
        "LogPath": where + "/log" if config.log_driver != "none" else "",
        "Name": "/" + container.name,
        "Driver": "overlay",
        "Platform": "linux",
        "HostConfig": {
            "LogConfig": {"Type": config.log_driver, "Config": config.log_options},
            "NetworkMode": config.network,
            "AutoRemove": config.remove,
            "Privileged": config.privileged,
            "ReadonlyRootfs": config.read_only,
            "CapAdd": list(config.cap_add),
            "CapDrop": list(config.cap_drop),
            "Init": config.init,
            "SecurityOpt": [
                *(["no-new-privileges"] if config.no_new_privileges else []),
                *([f"seccomp={config.seccomp}"] if config.seccomp != "default" else []),
            ],
            "Binds": [
                f"{one.source}:{one.target}{':ro' if one.read_only else ''}" for one in config.mounts if one.kind == "bind"
            ],
            "Tmpfs": {one.target: ",".join(one.options) for one in config.mounts if one.kind == "tmpfs"},
            "Ulimits": [{"Name": one.name, "Soft": one.soft, "Hard": one.hard} for one in config.ulimits],
        },
        "GraphDriver": {"Name": "overlay", "Data": {"UpperDir": where + "/rw/upper", "WorkDir": where + "/rw/work"}},
        "Mounts": [
            {
                "Type": one.kind,
                "Source": one.source,
                "Destination": one.target,
                "Mode": ",".join(one.options),
                "RW": not one.read_only,
            }
            for one in config.mounts
        ],
        "Config": {
            "Hostname": config.hostname or container.id[:12],
            "User": config.user if config.user is not None else defaults.user,
            "Tty": config.tty,
            "OpenStdin": config.interactive,
            "Env": [*defaults.env, *config.env],
            "Cmd": list(config.command or defaults.cmd),
            "Image": container.image,
            "WorkingDir": config.working_dir or defaults.working_dir or "/",
            "Entrypoint": list(config.entrypoint if config.entrypoint is not None else defaults.entrypoint) or None,
            "Labels": {**defaults.labels, **config.labels},
            "StopSignal": config.stop_signal or defaults.stop_signal or "SIGTERM",
            "StopTimeout": config.stop_timeout,
            "Capabilities": list(capabilities_of(config)),
        },
        "NetworkSettings": {"Networks": {config.network: {}}},
    }


def image_document(image: StoredImage) -> dict[str, Any]:
    """Return the document of an image."""
    from cratebox.image import reference

    config = image.config
    return {
        "Id": image.id,
        "RepoTags": [reference.parse(name).familiar for name in image.names],
        "RepoDigests": [reference.parse(name).familiar for name in image.repo_digests],
        "Created": image.created or _NEVER,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.size,
        "Config": {
            "User": config.user,
            "ExposedPorts": {port: {} for port in config.exposed_ports},
            "Env": list(config.env),
            "Entrypoint": list(config.entrypoint) or None,
            "Cmd": list(config.cmd) or None,
            "Volumes": {volume: {} for volume in config.volumes},
            "WorkingDir": config.working_dir,
            "Labels": config.labels,
            "StopSignal": config.stop_signal,
            "Healthcheck": config.healthcheck,
            "Shell": list(config.shell) or None,
        },
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"ManifestDigest": image.manifest_digest},
    }
