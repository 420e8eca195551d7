"""Devices by the names of CDI, the Container Device Interface: what vendors' files say that a device takes.

The files are in /etc/cdi and /var/run/cdi, the latter first, by the CDI specification 0.8
(cncf-tags/container-device-interface, SPEC.md). They make hooks run and mount the machine's files, so one that others than root
and this user may write is refused. JSON is read here; YAML where the interpreter has PyYAML.
"""

from __future__ import annotations

import os
import stat

from cratebox import document, jsontext
from cratebox.cgroup.model import DeviceRule
from cratebox.engine.specgen import Additions
from cratebox.errors import InvalidValue, NotFound, Unsupported
from cratebox.record import Record
from cratebox.runtime.spec import Device, Hook, Hooks, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORIES = ("/var/run/cdi", "/etc/cdi")  # the first that has a device counts
_LIMIT = 1 << 20  # bytes of a file
_VERSIONS = ("0.3.", "0.4.", "0.5.", "0.6.", "0.7.", "0.8.", "1.0.")
_HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


class DeviceNode(Record):
    path: str
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = "rwm"
    uid: int | None = None
    gid: int | None = None


class CDIMount(Record):
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class CDIHook(Record):
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Edits(Record):
    """containerEdits. What crate does not do (intelRdt, netDevices) is refused where it is asked for."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[CDIMount, ...] = ()
    hooks: tuple[CDIHook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    intel_rdt: dict[str, Any] = {}  # noqa: RUF012  never changed
    net_devices: tuple[NetDevice, ...] = ()


class NetDevice(Record):
    host_interface_name: str = ""
    name: str = ""


class CDIDevice(Record):
    name: str
    container_edits: Edits = Edits()


class CDISpec(Record):
    cdi_version: str
    kind: str
    devices: tuple[CDIDevice, ...] = ()
    container_edits: Edits = Edits()


def additions(names: tuple[str, ...]) -> Additions:
    """Return what the devices of these names take. Raises NotFound, InvalidValue, Unsupported."""
    found, seen = Additions(), set()
    specs = _specs()
    for name in names:
        path, spec, device = _find(name, specs)
        if path not in seen:  # the edits of all devices in a file are made once
            seen.add(path)
            found = found.plus(_edited(path, spec.container_edits))
        found = found.plus(_edited(path, device.container_edits))
    return found


def _find(name: str, specs: list[tuple[str, Any]]) -> tuple[str, CDISpec, CDIDevice]:
    kind, _, wanted = name.partition("=")
    known = []
    for path, parsed in specs:
        if not isinstance(parsed, dict) or parsed.get("kind") != kind:
            continue
        spec = document.decode(CDISpec, parsed, path)
        if not spec.cdi_version.startswith(_VERSIONS):
            raise Unsupported(f"{path}: cdiVersion {spec.cdi_version!a} is not one that crate knows")
        for device in spec.devices:
            if device.name == wanted:
                return path, spec, device
            known.append(device.name)
    raise NotFound(
        f"no device {name}",
        f"there are {', '.join(sorted(known)[:10])} of {kind}" if known else f"{' and '.join(DIRECTORIES)} have no {kind}",
    )


def _specs() -> list[tuple[str, Any]]:
    """Return the path and the parsed document of every file, in the order in which they count."""
    found = []
    for directory in DIRECTORIES:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if name.endswith((".json", ".yaml", ".yml")):
                found.append((f"{directory}/{name}", _parsed(f"{directory}/{name}")))
    return found


def _parsed(path: str) -> Any:
    raw = _read(path)
    try:
        return jsontext.loads(raw) if path.endswith(".json") else _yaml(path, raw)
    except jsontext.JSONError as error:
        raise InvalidValue(f"{path}: {error}") from None


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb", 0) as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_size > _LIMIT:
                raise InvalidValue(f"{path} is no file of at most 1 MiB")
            if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
                raise InvalidValue(
                    f"{path} could have been written by others, who would get to run hooks as you", f"chmod go-w {path}"
                )
            return file.read()
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {error.strerror}") from None


def _yaml(path: str, raw: bytes) -> Any:
    from cratebox.third_party import add_site_packages

    add_site_packages()
    try:
        import yaml  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise Unsupported(
            f"{path} is YAML, and this Python has no PyYAML",
            "write the file as JSON (nvidia-ctk cdi generate --format json), or install PyYAML",
        ) from None
    try:
        return yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InvalidValue(f"{path} is not YAML") from None


def _edited(path: str, edits: Edits) -> Additions:
    if edits.intel_rdt or edits.net_devices:
        raise Unsupported(f"{path}: intelRdt and netDevices are not there yet")
    nodes = [_node(path, one) for one in edits.device_nodes]
    return Additions(
        devices=tuple(nodes),
        rules=tuple(
            DeviceRule(True, node.type, node.major, node.minor, one.permissions)
            for node, one in zip(nodes, edits.device_nodes, strict=True)
        ),
        mounts=tuple(_mount(one) for one in edits.mounts),
        env=edits.env,
        hooks=_hooks(path, edits.hooks),
        groups=edits.additional_gids,
    )


def _node(path: str, one: DeviceNode) -> Device:
    """What a file does not say of a device is taken from the machine's node."""
    from cratebox.engine.host_devices import node_of

    source = one.host_path or one.path
    if one.type and one.major is not None and one.minor is not None:
        return Device(one.path, one.type, one.major, one.minor, one.file_mode, one.uid, one.gid)
    try:
        info = os.stat(source)
    except OSError as error:
        raise InvalidValue(f"{path}: the device {source}: {(error.strerror or '').lower()}") from None
    found = node_of(source, one.path, info, rootless=os.geteuid() != 0)
    given = {"file_mode": one.file_mode, "uid": one.uid, "gid": one.gid}
    return found.replace(**{name: value for name, value in given.items() if value is not None})


def _mount(one: CDIMount) -> Mount:
    options = one.options or ("ro",)
    if one.type not in ("", "bind"):
        return Mount(one.container_path, one.type, one.host_path, options)
    if not {"bind", "rbind"} & set(options):
        options = ("rbind", *options)
    return Mount(one.container_path, "bind", one.host_path, options)


def _hooks(path: str, hooks: tuple[CDIHook, ...]) -> Hooks:
    found: dict[str, tuple[Hook, ...]] = {}
    for one in hooks:
        field = _HOOKS.get(one.hook_name)
        if field is None:
            raise InvalidValue(f"{path}: there are no hooks {one.hook_name!a}", "one of " + ", ".join(_HOOKS))
        found[field] = (*found.get(field, ()), Hook(one.path, one.args, one.env, one.timeout))
    return Hooks(**found)
