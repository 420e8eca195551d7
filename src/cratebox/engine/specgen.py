"""The user's wish, the image's defaults and the facts of the host become an OCI spec. Pure: reads nothing, changes nothing.

The defaults are Docker's: its capabilities, its masks, its mounts; where crate differs it says why.
"""

from __future__ import annotations

from cratebox.cgroup.model import DeviceRule, Resources
from cratebox.engine import spec_mounts
from cratebox.engine.accounts import Account
from cratebox.engine.config import ContainerConfig, shares
from cratebox.engine.hostfiles import full_name
from cratebox.errors import InvalidValue
from cratebox.linux import caps
from cratebox.linux.userns import IDMap
from cratebox.record import Record
from cratebox.runtime.spec import (
    VERSION,
    Capabilities,
    ConsoleSize,
    Device,
    Hooks,
    IDMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Spec,
    User,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.image_defaults import ImageDefaults

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What tells about the machine or its other users, or reaches its hardware, has no business in a container.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware",
    "/sys/fs/selinux",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_PATH_MAX = 4096
_ALLOWED_DEVICES = (
    ("c", None, None, "m"), ("b", None, None, "m"),  # making a node is not opening it
    ("c", 1, 3, "rwm"), ("c", 1, 5, "rwm"), ("c", 1, 7, "rwm"), ("c", 1, 8, "rwm"), ("c", 1, 9, "rwm"),  # null zero full random urandom
    ("c", 5, 0, "rwm"), ("c", 5, 2, "rwm"), ("c", 136, None, "rwm"),  # tty ptmx pts/*; 5:1 is the machine's own console
)  # fmt: skip


class Additions(Record):
    """What devices and their like add to a spec: see host_devices.py."""

    devices: tuple[Device, ...] = ()
    rules: tuple[DeviceRule, ...] = ()
    mounts: tuple[Mount, ...] = ()
    env: tuple[str, ...] = ()
    hooks: Hooks = Hooks()
    groups: tuple[int, ...] = ()

    def plus(self, other: Additions) -> Additions:
        """Return both."""
        hooks = {name: getattr(self.hooks, name) + getattr(other.hooks, name) for name in Hooks._fields}
        rest = {name: getattr(self, name) + getattr(other, name) for name in Additions._fields if name != "hooks"}
        return Additions(hooks=Hooks(**hooks), **rest)


class Host(Record):
    """The facts about the machine that a spec depends on."""

    hostname: str
    rootless: bool = False
    uids: tuple[IDMap, ...] = ()
    gids: tuple[IDMap, ...] = ()
    cgroup: str = ""  # the path of the container's own
    device_rules: bool = True  # it keeps the container from devices; without root nodes are bound, and their owners decide
    disks: dict[str, tuple[int, int]] = {}  # noqa: RUF012  major and minor of each disk that is limited
    counts_swap: bool = True  # the kernel limits memory and swap together
    thermal: tuple[str, ...] = ()  # directories of /sys that tell the heat of each processor, and so what others compute
    init: str = ""  # the path of the reaper for --init
    devices: tuple[Device, ...] = ()  # all of the machine's, for --privileged
    added: Additions = Additions()
    joined: tuple[Namespace, ...] = ()  # those of other containers, see joined.py
    console: tuple[int, int] | None = None  # rows and columns of the user's terminal
    files: tuple[str, ...] = ("resolv.conf", "hostname", "hosts")  # of /etc, bound in from the container's directory
    files_from: str = ""  # or from that of the container whose network it has

    @property
    def confined(self) -> bool:
        """Whether the container is in a user namespace that is not the machine's."""
        return bool(self.uids) or any(one.type == "user" for one in self.joined)


def cgroup_path(identity: str, parent: str = "") -> str:
    """Return the path of a container's cgroup, below the place of the driver (linux.cgroupsPath)."""
    return f"{parent}/crate-{identity}"


def command_of(config: ContainerConfig, image: ImageDefaults) -> tuple[str, ...]:
    """Return ENTRYPOINT and CMD as Docker combines them. Raises InvalidValue where there is nothing to run."""
    if config.entrypoint is not None:
        words = (*config.entrypoint, *config.command)  # the image's CMD belongs to the image's ENTRYPOINT
    else:
        words = (*image.entrypoint, *(config.command or image.cmd))
    if not words:
        raise InvalidValue(
            f"no command: image {config.image} names none, and none was given",
            f"write one after the image: crate run {config.image} COMMAND",
        )
    return words


def capabilities_of(config: ContainerConfig) -> tuple[str, ...]:
    """Return the capabilities of the container, in the kernel's order."""
    everything = set(caps.NAMES)
    if config.privileged:
        return caps.NAMES
    found = everything if "ALL" in config.cap_add else set(DEFAULT_CAPABILITIES)
    if config.network == "host" and "ALL" not in config.cap_add:
        found -= {"CAP_NET_RAW"}  # there it would read every packet of the machine; Docker gives it for the container's own
    if "ALL" in config.cap_drop:
        found = set()
        if "ALL" in config.cap_add:
            found = everything
    found = (found | (set(config.cap_add) - {"ALL"})) - (set(config.cap_drop) - {"ALL"})
    return tuple(name for name in caps.NAMES if name in found)


def build(config: ContainerConfig, image: ImageDefaults, host: Host, account: Account, directory: str) -> Spec:
    """Return the spec of a container whose files (hosts, rootfs, ...) are in `directory`. Raises InvalidValue."""
    args = command_of(config, image)
    cwd = config.working_dir or image.working_dir or "/"
    if len(cwd) >= _PATH_MAX:  # before so many directories are made
        raise InvalidValue(
            f"the working directory has {len(cwd)} characters", f"the kernel takes paths of up to {_PATH_MAX - 1}"
        )
    if host.init:
        args = (spec_mounts.INIT_PLACE, "--", *args)
    names = capabilities_of(config)
    return Spec(
        oci_version=VERSION,
        root=Root("rootfs", config.read_only),
        mounts=spec_mounts.mounts_of(config, host, directory),
        hostname="" if shares(config.namespaces.uts) else full_name(host.hostname, config.domainname),
        domainname="" if shares(config.namespaces.uts) else config.domainname,
        process=Process(
            cwd=cwd,
            args=args,
            env=_environment(config, image, host, account),
            terminal=config.tty,
            console_size=ConsoleSize(*host.console) if host.console and config.tty else None,
            user=User(account.uid, account.gid, 0o022 if config.umask is None else config.umask, _groups(account, host)),
            capabilities=capabilities_for(names, account),
            rlimits=tuple(_rlimit(one.name, one.soft, one.hard) for one in config.ulimits),
            no_new_privileges=config.no_new_privileges,
            oom_score_adj=config.oom_score_adj,
            apparmor_profile=config.apparmor,
        ),
        annotations={**config.labels, **config.annotations} or None,
        hooks=host.added.hooks if host.added.hooks != Hooks() else None,
        linux=_linux(config, host),
    )


def mapped(groups: tuple[int, ...], gids: tuple[IDMap, ...]) -> tuple[int, ...]:
    """In a user namespace only mapped groups exist; one that does not cannot be had, nor can it do harm."""
    if not gids:
        return groups
    if sum(one.size for one in gids) == 1:
        return ()  # such a map forbids setgroups(2) altogether
    return tuple(gid for gid in groups if any(one.inside <= gid < one.inside + one.size for one in gids))


def _groups(account: Account, host: Host) -> tuple[int, ...]:
    return tuple(dict.fromkeys((*mapped(account.groups, host.gids), *host.added.groups)))


def capabilities_for(names: tuple[str, ...], account: Account) -> Capabilities:
    """Only root has them at once; others find them in the bounding set. Inheritable stays empty (CVE-2022-24769)."""
    held = names if account.uid == 0 else ()
    return Capabilities(bounding=names, effective=held, permitted=held)


def _environment(config: ContainerConfig, image: ImageDefaults, host: Host, account: Account) -> tuple[str, ...]:
    """Later ones win, each name stands once, in the place where it was first said."""
    entries = [DEFAULT_PATH, "HOSTNAME=" + host.hostname]
    if config.tty:
        entries.append("TERM=xterm")
    found: dict[str, str] = {}
    for entry in (*entries, *image.env, *host.added.env, *config.env):
        name, equals, _ = entry.partition("=")
        if name in config.unset_env and entry not in config.env:
            continue
        if name and equals:  # an image's "NAME" alone never pulls in the host's value (CVE-2020-14370)
            found[name] = entry
    found.setdefault("HOME", "HOME=" + account.home)
    return tuple(found.values())


def _rlimit(name: str, soft: int, hard: int) -> Rlimit:
    most = 2**64 - 1
    return Rlimit("RLIMIT_" + name.upper(), most if soft < 0 else soft, most if hard < 0 else hard)


def _linux(config: ContainerConfig, host: Host) -> Linux:
    namespaces = _namespaces(config, host)
    new_user = Namespace("user") in namespaces
    words = {word for one in config.mounts for word in one.options}
    propagation = "rslave" if words & {"slave", "rslave"} else ""
    return Linux(
        rootfs_propagation=propagation,
        namespaces=namespaces,
        uid_mappings=_mappings(host.uids) if new_user else (),
        gid_mappings=_mappings(host.gids) if new_user else (),
        sysctl=config.sysctl or None,
        devices=_devices(host),
        cgroups_path=host.cgroup,
        resources=resources_of(config, host),
        masked_paths=() if config.privileged else (*still_hidden(MASKED + host.thermal, config.unmasked), *config.masked),
        readonly_paths=() if config.privileged else still_hidden(READONLY, config.unmasked),
    )


def _devices(host: Host) -> tuple[Device, ...]:
    named = {one.path for one in host.added.devices}
    return (*(one for one in host.devices if one.path not in named), *host.added.devices)


def still_hidden(paths: tuple[str, ...], unmasked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths that stay hidden, or read-only: not those that --security-opt unmask names, nor what is below them."""
    if "ALL" in unmasked:
        return ()
    return tuple(path for path in paths if not any(path == one or path.startswith(one + "/") for one in unmasked))


def _namespaces(config: ContainerConfig, host: Host) -> tuple[Namespace, ...]:
    wanted = config.namespaces
    own = ["mount", *(kind for kind in ("pid", "uts", "ipc", "cgroup") if not shares(getattr(wanted, kind)))]
    if config.network != "host" and not shares(config.network):
        own.append("network")
    if host.uids and not any(one.type == "user" for one in host.joined):
        own.append("user")
    return (*map(Namespace, own), *host.joined)


def _mappings(maps: tuple[IDMap, ...]) -> tuple[IDMapping, ...]:
    return tuple(IDMapping(one.inside, one.outside, one.size) for one in maps)


def resources_of(config: ContainerConfig, host: Host) -> Resources | None:
    """Return the OCI linux.resources of a container: which devices it may open, and its limits."""
    found = None
    if config.limits:
        from cratebox.engine import limits

        found = limits.resources(config.limits, host.disks, host.counts_swap)
    return (found or Resources()).replace(devices=_device_rules(config, host)) if host.device_rules else found


def _device_rules(config: ContainerConfig, host: Host) -> tuple[DeviceRule, ...]:
    if config.privileged:
        return (DeviceRule(allow=True),)
    return (DeviceRule(allow=False), *(DeviceRule(True, *rule) for rule in _ALLOWED_DEVICES), *host.added.rules)
