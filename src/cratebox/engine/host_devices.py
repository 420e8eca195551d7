"""The devices of this machine that a container is to have, with all that they bring along."""

from __future__ import annotations

import os
import stat

from cratebox.cgroup.model import DeviceRule
from cratebox.engine.config import ContainerConfig, DeviceWish
from cratebox.engine.device_words import parse_rule
from cratebox.engine.specgen import Additions
from cratebox.errors import InvalidValue, Unsupported
from cratebox.runtime.spec import Device, Mount

_MOST = 4096  # nodes below one directory
_ZONES = "/usr/share/zoneinfo"


def additions(config: ContainerConfig, rootless: bool) -> Additions:
    """Return what --device, --device-cgroup-rule, --gpus and --tz add to the spec.
    Raises InvalidValue, NotFound, Unsupported.
    """
    if rootless and config.device_rules:
        raise Unsupported("--device-cgroup-rule takes root: without it there are no such rules, and no nodes are made")
    found = Additions(rules=tuple(map(parse_rule, config.device_rules)))
    for wish in config.devices:
        if rootless and not {"r", "w"} <= set(wish.access):
            raise Unsupported(
                f"--device {wish.source}: only root can keep a container from writing to it, or reading", "its mode can"
            )
        nodes = _nodes(wish, rootless)
        found = found.plus(Additions(devices=nodes, rules=tuple(rule_of(node, wish.access) for node in nodes)))
    if config.cdi_devices:
        from cratebox.engine import cdi

        found = found.plus(cdi.additions(config.cdi_devices))
    if config.timezone:
        found = found.plus(Additions(mounts=(_zone(config.timezone),)))
    return found


def rule_of(node: Device, access: str) -> DeviceRule:
    """Return the rule that lets a container open the node."""
    return DeviceRule(True, node.type, node.major, node.minor, access)


def _nodes(wish: DeviceWish, rootless: bool) -> tuple[Device, ...]:
    try:
        info = os.stat(wish.source)
    except OSError as error:
        raise InvalidValue(f"--device {wish.source}: {(error.strerror or '').lower()}") from None
    if not stat.S_ISDIR(info.st_mode):
        return (node_of(wish.source, wish.target, info, rootless),)
    found = []
    for directory, _, names in os.walk(wish.source):
        for name in sorted(names):
            path = f"{directory}/{name}"
            info = os.lstat(path)
            if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
                found.append(node_of(path, wish.target + path[len(wish.source) :], info, rootless))
        if len(found) > _MOST:
            raise InvalidValue(f"--device {wish.source} has more than {_MOST} devices below it")
    if not found:
        raise InvalidValue(f"--device {wish.source}: there is no device below that directory")
    return tuple(found)


def node_of(source: str, target: str, info: os.stat_result, rootless: bool) -> Device:
    """Return the device that is at `source`, as it is to be at `target`;
    without root its owner stays who he is, and is not asked for.

    Raises InvalidValue for what is no device.
    """
    kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else ""
    if not kind:
        raise InvalidValue(f"--device {source} is no device", "-v mounts files and directories")
    number, owner = info.st_rdev, () if rootless else (info.st_uid, info.st_gid)
    return Device(target, kind, os.major(number), os.minor(number), info.st_mode & 0o777, *owner)


def check_zone(name: str) -> str:
    """Return the path of the file of a time zone (tzfile(5)), or of this machine's own ("local"). Raises InvalidValue."""
    path = os.path.realpath("/etc/localtime" if name == "local" else f"{_ZONES}/{name}")
    inside = name == "local" or path.startswith(_ZONES + "/")
    if not inside or not os.path.isfile(path):
        raise InvalidValue(
            f"--tz {name}: this machine knows no such time zone", f"a file below {_ZONES}, as Europe/Berlin, or local"
        )
    return path


def _zone(name: str) -> Mount:
    return Mount("/etc/localtime", "bind", check_zone(name), ("bind", "rprivate", "ro", "nosuid", "nodev"))
