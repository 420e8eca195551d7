"""The flags that say what of its surroundings a container shares with this machine or with other containers."""

from __future__ import annotations

from cratebox.cli.commands.create import SECURITY
from cratebox.cli.options import Flag, Words
from cratebox.engine import namespace_words
from cratebox.engine.config import ContainerConfig, Namespaces
from cratebox.errors import UsageError

FLAGS = (
    Flag("pid", metavar="host|container:NAME", help="see the processes of this machine, or of another container", group=SECURITY),
    Flag("ipc", metavar="host|private|shareable|none|container:NAME", help="share System V IPC, message queues and /dev/shm; none: no /dev/shm",
         group=SECURITY),
    Flag("uts", metavar="host|container:NAME", help="have the host name of this machine, or of another container", group=SECURITY),
    Flag("cgroupns", metavar="host|private", help="whether it sees the names of this machine's cgroups", group=SECURITY),
    Flag("userns", metavar="host|auto|keep-id|container:NAME", help="which IDs of this machine those of the container are", group=SECURITY),
    Flag("uidmap", metavar="CONTAINER:FROM[:AMOUNT]", help="the same, one range after the other", repeat=True, group=SECURITY),
    Flag("gidmap", metavar="CONTAINER:FROM[:AMOUNT]", help="as --uidmap, for groups; one of the two is for both", repeat=True, group=SECURITY),
    Flag("sysctl", metavar="NAME=VALUE", help="set a parameter of the kernel in its namespaces, as net.ipv4.ip_forward=1", repeat=True,
         group=SECURITY),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue, Unsupported."""
    typed = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroup": "cgroupns", "user": "userns"}
    given = {kind: namespace_words.parse(kind, text) for kind, name in typed.items() if (text := words.text(name))}
    wanted = Namespaces().replace(**given)
    uids, gids = ([namespace_words.parse_map(f"--{name}", text) for text in words.all(name)] for name in ("uidmap", "gidmap"))
    if uids or gids:
        if words.text("userns") not in {None, "private"}:
            raise UsageError("--userns and --uidmap, --gidmap contradict each other", "leave one out")
        maps = namespace_words.mapped(tuple(uids), tuple(gids))
        wanted = wanted.replace(user=maps.user, uid_map=maps.uid_map, gid_map=maps.gid_map)
    config = config.replace(namespaces=wanted, sysctl=dict(map(namespace_words.parse_sysctl, words.all("sysctl"))))
    namespace_words.check(config)
    return config
