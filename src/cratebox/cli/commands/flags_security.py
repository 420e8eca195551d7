"""The flags that say what a container is kept from, and which groups and devices it has all the same."""

from __future__ import annotations

from cratebox.cli.commands.create import FILES, PROCESS, SECURITY, working_directory
from cratebox.cli.options import Flag, Words
from cratebox.engine import device_words, secret_words
from cratebox.engine.config import ContainerConfig, DeviceWish
from cratebox.engine.security_options import parse_security_opt
from cratebox.errors import InvalidValue

FLAGS = (
    Flag("security-opt", metavar="OPTION", help="no-new-privileges, seccomp=unconfined or seccomp=FILE, apparmor=PROFILE, mask=PATH, unmask=PATH|ALL",
         repeat=True, group=SECURITY),
    Flag("group-add", metavar="GROUP", help="be in one more group, by name in the image or by number; keep-groups: in your own", repeat=True, group=PROCESS),
    Flag("device", metavar="PATH[:INSIDE][:rwm]", help="have a device of this machine, all below a directory, or one of CDI by its name: "
         "vendor.com/class=name", repeat=True, completes="file", group=FILES),
    Flag("device-cgroup-rule", metavar="RULE", help='let it open devices that it makes or finds, as "c 189:* rwm"', repeat=True, group=FILES),
    Flag("secret", metavar="NAME[,OPTION=...]", help="have a secret in /run/secrets/NAME; type=env for a variable, target=, uid=, gid=, mode=",
         repeat=True, group=FILES),
    Flag("gpus", metavar="all|N|device=...", help="have GPUs, by the CDI names nvidia.com/gpu=...", group=FILES),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue."""
    devices = [device_words.parse_device(text) for text in words.all("device")]
    gpus = words.text("gpus")
    for rule in words.all("device-cgroup-rule"):
        device_words.parse_rule(rule)
    if "keep-groups" in words.all("group-add") and len(words.all("group-add")) > 1:
        raise InvalidValue("--group-add keep-groups stands alone: no group can be added to those that are kept")
    if not all(words.all("group-add")):
        raise InvalidValue("--group-add is a group's name or number, and not empty")
    return config.replace(
        **parse_security_opt(words.all("security-opt"), working_directory()),
        group_add=words.all("group-add"),
        devices=tuple(one for one in devices if isinstance(one, DeviceWish)),
        cdi_devices=(*(one for one in devices if isinstance(one, str)), *(device_words.parse_gpus(gpus) if gpus else ())),
        secrets=tuple(map(secret_words.parse, words.all("secret"))),
        device_rules=words.all("device-cgroup-rule"),
    )
