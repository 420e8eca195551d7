"""The flags that say what of its surroundings a container shares with this machine or with other containers."""

from __future__ import annotations

from cratebox.cli.commands.create import SECURITY
from cratebox.cli.options import Flag, Words
from cratebox.engine import namespace_words
from cratebox.engine.config import ContainerConfig, Namespaces

FLAGS = (
    Flag("pid", metavar="host|container:NAME", help="see the processes of this machine, or of another container", group=SECURITY),
    Flag("ipc", metavar="host|private|shareable|none|container:NAME", help="share System V IPC, message queues and /dev/shm; none: no /dev/shm",
         group=SECURITY),
    Flag("uts", metavar="host|container:NAME", help="have the host name of this machine, or of another container", group=SECURITY),
    Flag("cgroupns", metavar="host|private", help="whether it sees the names of this machine's cgroups", group=SECURITY),
    Flag("userns", metavar="host|auto|keep-id|container:NAME", help="which IDs of this machine those of the container are", group=SECURITY),
    Flag("sysctl", metavar="NAME=VALUE", help="set a parameter of the kernel in its namespaces, as net.ipv4.ip_forward=1", repeat=True,
         group=SECURITY),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue, Unsupported."""
    typed = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroup": "cgroupns", "user": "userns"}
    given = {kind: namespace_words.parse(kind, text) for kind, name in typed.items() if (text := words.text(name))}
    config = config.replace(namespaces=Namespaces(**given), sysctl=dict(map(namespace_words.parse_sysctl, words.all("sysctl"))))
    namespace_words.check(config)
    return config
