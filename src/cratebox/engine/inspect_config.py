"""Config: what a container is on any machine (the image's word and the user's), in the words of `docker inspect`."""

from __future__ import annotations

from cratebox.engine import healthcheck
from cratebox.engine.inspect_network import exposed
from cratebox.engine.records import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config_of(container: Container) -> dict[str, Any]:
    """Return the section."""
    config, defaults = container.config, container.defaults
    entrypoint = defaults.entrypoint if config.entrypoint is None else config.entrypoint
    # The image's CMD belongs to the image's ENTRYPOINT.
    command = config.command or (defaults.cmd if config.entrypoint is None else ())
    document = {
        "Hostname": config.hostname or container.id[:12],
        "Domainname": config.domainname,
        "User": config.user if config.user is not None else defaults.user,
        "AttachStdin": config.interactive,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": config.tty,
        "OpenStdin": config.interactive,
        "StdinOnce": config.interactive,
        "Env": environment(container),
        "Cmd": list(command) or None,
        "Image": container.image,
        "Volumes": _volumes(container) or None,
        "WorkingDir": config.working_dir or defaults.working_dir or "/",
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(sorted({**defaults.labels, **config.labels}.items())),
        "StopSignal": config.stop_signal or defaults.stop_signal or "SIGTERM",
    }
    if ports := exposed(container):
        document["ExposedPorts"] = {port: {} for port in ports}
    if config.stop_timeout is not None:
        document["StopTimeout"] = config.stop_timeout
    if config.secrets:
        document["Secrets"] = [
            {"Name": one.name, "Type": one.kind, "Target": one.target, "UID": one.uid, "GID": one.gid, "Mode": one.mode}
            for one in config.secrets
        ]
    if config.timezone:
        document["Timezone"] = config.timezone
    if config.umask is not None:
        document["Umask"] = f"{config.umask:04o}"
    if config.timeout:
        document["Timeout"] = config.timeout  # Podman's; Docker has none
    if config.health or defaults.healthcheck:
        document["Healthcheck"] = healthcheck.document(container)
    if config.health_on_failure != "none":
        document["HealthcheckOnFailureAction"] = config.health_on_failure  # Podman's
    return document


def _volumes(container: Container) -> dict[str, Any]:
    """Return the places of volumes without a name: those of the image, and those of -v."""
    own = (one.target for one in container.config.mounts if one.anonymous)
    return {path: {} for path in (*container.defaults.volumes, *own)}


def environment(container: Container) -> list[str]:
    """Return the variables of the image and of the user; of one name the last counts, in the place of the first."""
    config = container.config
    of_image = [entry for entry in container.defaults.env if entry.partition("=")[0] not in config.unset_env]
    found = {entry.partition("=")[0]: entry for entry in (*of_image, *config.env)}
    return list(found.values())
