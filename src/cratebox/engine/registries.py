"""What `crate info` tells of registries and of what is let in: RegistryConfig as Docker's API has it,
and crate's own beside it.

A file that cannot be followed keeps images from being pulled, and `info` from nothing: it is told as a warning.
"""

from __future__ import annotations

from cratebox.errors import CrateError
from cratebox.image import settings
from cratebox.image.policy import ACCEPT
from cratebox.image.reference import DEFAULT_REGISTRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.registries_conf import Namespace
    from cratebox.image.settings import Settings

_LOOPBACK = ("127.0.0.0/8", "::1/128")  # where plain HTTP is spoken without being asked for (image/origin.py)


def describe(config: str) -> dict[str, Any]:
    """Return what the settings in `config` (Paths.config) and in the files of containers come to, and one warning or none."""
    try:
        found, warnings = settings.load(config), []
    except CrateError as error:
        found, warnings = settings.Settings(), [f"no image can be pulled: {error.message}"]
    return {
        "RegistryConfig": _registry_config(found),
        "BlockedRegistries": [each.prefix for each in found.namespaces if each.blocked],
        "RegistryFiles": list(found.files),
        "ImagePolicy": {
            "File": found.policy.where,
            "Default": ", ".join(found.policy.default),
            "Scopes": sum(map(len, found.policy.transports.values())),
        },
        "Warnings": warnings,
    }


def policy_line(policy: dict[str, Any]) -> str:
    """Return ImagePolicy as a person reads it."""
    if not policy["File"]:
        return "accept everything (there is no policy.json)"
    default = "accept" if policy["Default"] == ACCEPT else policy["Default"]
    scopes = f", {policy['Scopes']} scopes of their own" if policy["Scopes"] else ""
    return f"{default}{scopes} ({policy['File']})"


def _registry_config(found: Settings) -> dict[str, Any]:
    """Docker's document has an entry for each registry of which something is said.
    Prefixes stand there as names of their own.
    """
    said = {each.prefix: each for each in found.namespaces if each.mirrors or each.insecure}
    names = dict.fromkeys((DEFAULT_REGISTRY, *said, *found.insecure))
    return {
        "InsecureRegistryCIDRs": list(_LOOPBACK),
        "IndexConfigs": {name: _index(name, said.get(name), name in found.insecure) for name in names},
        "Mirrors": _mirrors(said.get(DEFAULT_REGISTRY)),
    }


def _index(name: str, namespace: Namespace | None, insecure: bool) -> dict[str, Any]:
    plain = insecure or (namespace is not None and namespace.insecure)
    return {"Name": name, "Mirrors": _mirrors(namespace), "Secure": not plain, "Official": name == DEFAULT_REGISTRY}


def _mirrors(namespace: Namespace | None) -> list[str]:
    return [each.location for each in namespace.mirrors] if namespace else []
