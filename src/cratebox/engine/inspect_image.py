"""An image in the form of `docker image inspect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cratebox.image.manifest import Descriptor, ImageConfig
    from cratebox.image.store import StoredImage

_NEVER = "0001-01-01T00:00:00Z"


def image_document(image: StoredImage, manifest: Descriptor, directories: Sequence[str]) -> dict[str, Any]:
    """Return the document of an image, whose layers lie in `directories`, the lowest first."""
    from cratebox.image import reference

    config = image.config
    return {
        "Id": image.id,
        "RepoTags": [reference.parse(name).familiar for name in image.names],
        "RepoDigests": [reference.parse(name).familiar for name in image.repo_digests],
        "Parent": "",
        "Comment": str(config.history[-1].get("comment", "")) if config.history else "",
        "Created": image.created or _NEVER,
        "DockerVersion": "",
        "Author": config.author,
        "Config": _config(config),
        "Architecture": config.architecture,
        **({"Variant": config.variant} if config.variant else {}),
        "Os": config.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay", "Data": _places(directories)},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": image.tagged or _NEVER, "ManifestDigest": image.manifest_digest},
        "Descriptor": {"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size},
    }


def _places(directories: Sequence[str]) -> dict[str, str]:
    """Docker's words: the uppermost layer, and those below it from the top down; no file system is mounted of them."""
    if not directories:
        return {}
    *lower, upper = directories
    return {**({"LowerDir": ":".join(reversed(lower))} if lower else {}), "UpperDir": upper}


def _config(config: ImageConfig) -> dict[str, Any]:
    document = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(config.env),
        "Cmd": list(config.cmd) or None,
        "Healthcheck": config.healthcheck,
        "Image": "",
        "Volumes": {volume: {} for volume in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": list(config.on_build) or None,
        "Labels": dict(sorted(config.labels.items())),
        "StopSignal": config.stop_signal,
        "Shell": list(config.shell) or None,
        "ArgsEscaped": config.args_escaped,
    }
    left_out = ("ExposedPorts", "Healthcheck", "StopSignal", "Shell", "ArgsEscaped")  # where there is none, as Docker does
    return {name: value for name, value in document.items() if value or name not in left_out}
