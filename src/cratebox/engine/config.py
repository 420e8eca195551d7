"""The user's wish for a container, and the parsers that read it from Docker's words.

The parsers are pure: what they need of the host (the working directory, the environment) is handed in. Each raises
InvalidValue for what is wrong, Unsupported for what Docker has and crate does not do yet. Those of what is seldom said have
modules of their own (environment.py, ulimits.py, security_options.py), which a start without them never imports.
"""

from __future__ import annotations

from cratebox.engine.mounts import MountWish, parse_mount, parse_tmpfs, parse_volume
from cratebox.engine.signals import parse as parse_signal
from cratebox.engine.words import shown
from cratebox.engine.words import size as parse_size
from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux.caps import NAMES as CAPABILITIES
from cratebox.linux.userns import IDMap
from cratebox.network.model import Port
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ContainerConfig", "DeviceLimit", "DeviceWish", "Limits", "MountWish", "Namespaces", "NetworkWish", "Port", "SecretWish",
    "Ulimit", "check_capability", "check_hostname", "check_name", "check_network", "nearest", "parse_detach_keys", "parse_label",
    "parse_mount", "parse_signal", "parse_size", "parse_tmpfs", "parse_volume",
]  # fmt: skip

NETWORKS = ("bridge", "host", "none")  # that are always there
OF_OTHERS = ("slirp4netns", "pasta")  # Podman's words for a network of one container
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _LETTERS | frozenset("_.-")


class Ulimit(Record):
    """A limit of setrlimit(2); -1 is unlimited. Sizes are in bytes, times in seconds (rttime: microseconds)."""

    name: str
    soft: int
    hard: int


class DeviceLimit(Record):
    """What a container may do with the disk at `path`: its weight, or bytes or operations a second."""

    path: str
    value: int


class Limits(Record):
    """What the cgroup of a container keeps it to; what was not said is None.
    Sizes are bytes, times microseconds, -1 is no limit.

    `memory_swap` counts memory as well; without it twice `memory` is meant. `nano_cpus`: billionths of a processor.
    `unified`: files of cgroup v2 and what is written to them.
    """

    memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    weight_devices: tuple[DeviceLimit, ...] = ()
    read_bps: tuple[DeviceLimit, ...] = ()
    write_bps: tuple[DeviceLimit, ...] = ()
    read_iops: tuple[DeviceLimit, ...] = ()
    write_iops: tuple[DeviceLimit, ...] = ()
    unified: dict[str, str] | None = None


class SecretWish(Record):
    """A secret that the container finds in the file `target`, or in the variable of that name where `kind` is "env"."""

    name: str
    kind: str = "mount"
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


class DeviceWish(Record):
    """A device of the machine, or all below the directory `source`, that the container has at `target`;
    `access` is made of r, w, m.
    """

    source: str
    target: str
    access: str = "rwm"


class Namespaces(Record):
    """Whose namespaces the container is in: "" for its own, "host", or "container:ID". `ipc` is also "private" and "shareable",
    which say whether others may join it, and "none": no /dev/shm. `user` is also "auto[:size=N]", "keep-id[:uid=N,gid=N]"
    and "map", for the IDs of `uid_map` and `gid_map`: what is `outside` there is this machine's for root, for others what their
    containers usually have inside.
    """

    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroup: str = ""
    user: str = ""
    uid_map: tuple[IDMap, ...] = ()
    gid_map: tuple[IDMap, ...] = ()


KEEP_GROUPS = ("keep-groups",)  # --group-add, for the user's own


def shares(word: str) -> bool:
    """Tell whether a word of `Namespaces` stands for a namespace that is not the container's own."""
    return word == "host" or word.startswith("container:")


class NetworkWish(Record):
    """A network that the container is on, by name. `interface`, `mac` and the addresses are "" for any. Of several networks the
    one with the highest `priority` is the way outside.
    """

    name: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    interface: str = ""
    priority: int = 0


class HealthCheck(Record):
    """Docker's HealthConfig: `test` is NONE, CMD and words, or CMD-SHELL and a line for the image's `shell`. Times in
    nanoseconds; 0, and no `test`, for what comes from the image or is the default; an interval of -1: never by itself.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
    shell: tuple[str, ...] = ()


class ContainerConfig(Record):
    """What the user asked for; what was not said is None or empty and comes from the image.

    `env`: KEY=VALUE, later ones win. `entrypoint`: () runs the command alone. `seccomp`: "default", "unconfined" or the
    absolute path of a profile. `cdi_devices`: VENDOR/CLASS=NAME. `timezone`: the name of a zone, or "local". `unset_env`: names
    of the image's variables. `masked`, `unmasked`: paths hidden beyond the usual ones, and of those not hidden ("ALL").
    `stop_timeout`: seconds. `shm_size`: bytes of /dev/shm. `pidfile`: where the pid of its first process is written at each
    start. `timeout`: seconds after which it is killed, 0 for never. `restart`: as restarts.py reads it.

    `network`: "host", "none", "container:ID", or the name of the network that it is made for, "" for the default one.
    `networks`: those that it is on, which `network connect` changes; making it fills them in.
    `expose`: PORT/PROTOCOL. `add_host`: NAME:ADDRESS.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    hostname: str | None = None
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    tty: bool = False
    interactive: bool = False
    remove: bool = False
    read_only: bool = False
    mounts: tuple[MountWish, ...] = ()
    network: str = ""
    networks: tuple[NetworkWish, ...] = ()
    ports: tuple[Port, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    domainname: str = ""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = "default"
    ulimits: tuple[Ulimit, ...] = ()
    limits: Limits | None = None
    cgroup_parent: str = ""
    shm_size: int | None = None
    oom_score_adj: int | None = None
    namespaces: Namespaces = Namespaces()
    sysctl: dict[str, str] = {}  # noqa: RUF012  as `labels`
    devices: tuple[DeviceWish, ...] = ()
    device_rules: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    secrets: tuple[SecretWish, ...] = ()
    group_add: tuple[str, ...] = ()
    annotations: dict[str, str] = {}  # noqa: RUF012  as `labels`
    timezone: str = ""
    umask: int | None = None
    unset_env: tuple[str, ...] = ()
    init_path: str = ""
    pidfile: str = ""
    volumes_from: tuple[str, ...] = ()
    apparmor: str = ""
    masked: tuple[str, ...] = ()
    unmasked: tuple[str, ...] = ()
    init: bool = False
    platform: str | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    log_driver: str = "json-file"
    log_options: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    restart: str = "no"
    timeout: int = 0
    health: HealthCheck | None = None
    health_on_failure: str = "none"


def check_name(text: str) -> str:
    """Return `text` where it can be a container's name: [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 128 characters."""
    if len(text) < 2 or len(text) > 128 or text[0] not in _LETTERS or not _NAME.issuperset(text):
        raise InvalidValue(
            f"not a name for a container: {shown(text)}",
            "2 to 128 letters, digits, _, . and -; the first is a letter or a digit",
        )
    return text


def check_hostname(text: str) -> str:
    """Return `text` where sethostname(2) and RFC 1123 allow it; underscores are let through, for people use them."""
    labels = text.split(".")
    if len(text) > 64 or not all(_is_label(label) for label in labels):
        raise InvalidValue(
            f"not a host name: {shown(text)}", "at most 64 letters, digits, - and . (no - or . at the ends, no .. inside)"
        )
    return text


def _is_label(label: str) -> bool:
    return 0 < len(label) < 64 and _NAME.issuperset(label) and label[0] != "-" and label[-1] != "-"


def check_network(text: str) -> str:
    """Return `text` where it says which network a container is on: host, none, container:NAME, or a network's name."""
    word, colon, rest = text.partition(":")
    if text in NETWORKS or (colon and word == "container" and rest):
        return text
    if word == "ns" or word in OF_OTHERS:
        raise Unsupported(
            f"--network {shown(text)} is not there", "bridge, host, none, container:NAME, or the name of a network"
        )
    if is_network_name(text):
        return text
    raise InvalidValue(f"--network cannot be {shown(text)}", "bridge, host, none, container:NAME, or the name of a network")


def is_network_name(text: str) -> bool:
    """Tell whether a network can have that name."""
    return 0 < len(text) <= 128 and text[0] in _LETTERS and _NAME.issuperset(text)


def is_on_networks(config: ContainerConfig) -> bool:
    """Tell whether the container has a network namespace that is connected to networks, or can be."""
    return config.network not in {"host", "none"} and not config.network.startswith("container:")


def check_capability(text: str) -> str:
    """Return the full name (CAP_NET_ADMIN, or ALL) of a capability written with or without CAP_, in any case."""
    name = text.upper()
    if name in ("ALL", "CAP_ALL"):
        return "ALL"
    name = name if name.startswith("CAP_") else "CAP_" + name
    if name not in CAPABILITIES:
        raise InvalidValue(f"no such capability: {shown(text)}", nearest(name, CAPABILITIES) or "capabilities(7) lists them")
    return name


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the question whether one of the known words was meant, None where none is near."""
    import difflib

    found = difflib.get_close_matches(word, list(known), 2)
    return f"did you mean {' or '.join(found)}?" if found else None


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of `--label KEY[=VALUE]`."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise InvalidValue(f"not a label: {shown(text)}", "write KEY=VALUE")
    return key, value


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes that `--detach-keys` names: single characters and ctrl-X, joined by commas; empty for none at all."""
    return bytes(_key(text, word) for word in text.split(",")) if text else b""


def _key(text: str, word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    control = word[5:].upper()
    if word.startswith("ctrl-") and len(control) == 1 and "@" <= control <= "_":
        return ord(control) & 0x1F
    raise InvalidValue(f"not detach keys: {shown(text)}", "letters and ctrl-LETTER, joined by commas: ctrl-p,ctrl-q")
