"""crate create, and what it shares with `run`: the flags that say how a container shall be.

Those that stand in many command lines are here. The others are in modules by theme, flags_THEME.py, of which a command without
them imports none. Each has FLAGS and `wished(words, config)`, which returns the config with what its flags say.
"""

from __future__ import annotations

import os

from cratebox.cli.commands import STORED, PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine import config as wish
from cratebox.engine.config import ContainerConfig, MountWish
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROCESS, FILES, NETWORK = "The process", "Files", "The network"
SECURITY, IMAGE = "Isolation and security", "The image and the container"

CREATE_FLAGS = (
    Flag("env", "e", "KEY=VALUE", "set a variable; KEY alone passes on the value it has here", repeat=True, group=PROCESS),
    Flag("env-file", metavar="FILE", help="read variables, one a line", repeat=True, completes="file", group=PROCESS),
    Flag("workdir", "w", "DIR", "the directory the command starts in", group=PROCESS),
    Flag("user", "u", "USER[:GROUP]", "run as this user, by name or number", group=PROCESS),
    Flag("entrypoint", metavar="PROGRAM", help='the program instead of the image\'s ENTRYPOINT; "" for none', group=PROCESS),
    Flag("interactive", "i", help="keep standard input open", group=PROCESS),
    Flag("tty", "t", help="give the container a terminal", group=PROCESS),
    Flag("init", help="put a small reaper (catatonit or tini of this machine) before the command", group=PROCESS),
    Flag("stop-signal", metavar="SIGNAL", help="what `crate stop` sends first", group=PROCESS),
    Flag("stop-timeout", metavar="SECONDS", help="how long `crate stop` waits before it kills", group=PROCESS),
    Flag("volume", "v", "[SOURCE:]TARGET[:ro]", "mount a volume by its name, or a directory of this machine; a missing one is made",
         repeat=True, completes="directory", group=FILES),
    Flag("mount", metavar="type=volume|bind|tmpfs|image,...",
         help="mount with source=, target= and readonly; a missing directory is an error", repeat=True, group=FILES),
    Flag("tmpfs", metavar="TARGET[:OPTIONS]", help="an empty file system in memory, as /run:size=64m,mode=1777", repeat=True,
         group=FILES),
    Flag("read-only", help="let nothing be written to the image's files", group=FILES),
    Flag("network", metavar="NETWORK", help="a network, as NAME or name=NAME,alias=...,ip=...; bridge, host, none or container:NAME",
         repeat=True, alias="net", completes="network", group=NETWORK),
    Flag("publish", "p", "[ADDRESS:][PORT:]PORT[/udp]", "make a port of the container one of this machine; a free one where none is given",
         repeat=True, group=NETWORK),
    Flag("hostname", "h", "NAME", "the name the container has for itself", group=SECURITY),
    Flag("cap-add", metavar="CAPABILITY", help="give a capability, as NET_ADMIN, or ALL", repeat=True, group=SECURITY),
    Flag("cap-drop", metavar="CAPABILITY", help="take a capability away, or ALL", repeat=True, group=SECURITY),
    Flag("privileged", help="all capabilities and devices, no filter: as good as no isolation", group=SECURITY),
    Flag("name", metavar="NAME", help="the container's name; one is made up otherwise", group=IMAGE),
    Flag("replace", help="remove the container that has the name first", group=IMAGE),
    Flag("label", "l", "KEY=VALUE", "keep a word with the container", repeat=True, group=IMAGE),
    Flag("rm", help="remove the container when it ends", group=IMAGE),
    Flag("cidfile", metavar="FILE", help="write the container's ID into a new file", completes="file", group=IMAGE),
    Flag("pull", metavar="always|missing|never", help="when to fetch the image", default="missing",
         words=("always", "missing", "never"), group=IMAGE),
    Flag("platform", metavar="OS/ARCH[/VARIANT]", help="which one of a multi-platform image", group=IMAGE),
    Flag("quiet", "q", help="show nothing of a pull", group=IMAGE),
)  # fmt: skip

MORE_FLAGS = tuple(
    f"cratebox.cli.commands.flags_{theme}"
    for theme in ("life", "limits", "logging", "namespaces", "network", "security", "words")
)

LATER_FLAGS = (
    "cpu-rt-period", "cpu-rt-runtime", "subuidname", "subgidname",
    "link", "link-local-ip", "runtime", "storage-opt",
    "a/attach",
)  # fmt: skip

IMAGES = f"""{STORED}, or rootfs:DIR: a directory of this machine, / included, that stays as it is."""

COMMAND = Command(
    name="create",
    arguments="IMAGE [COMMAND] [ARG...]",
    summary="Make a container and do not start it",
    flags=CREATE_FLAGS,
    least=1,
    most=None,
    stops=True,
    completes="image",
    later=LATER_FLAGS,
    more=MORE_FLAGS,
    description=f"""Make a container from an image, fetching the image where it is missing, and print the container's ID.
`crate start` starts it, also days later. COMMAND stands in place of the image's CMD; flags after IMAGE belong to it.

{IMAGES}""",
    examples=(("crate create --name web alpine sleep 60", "make it"), ("crate start -a web", "start it and stay with it")),
    exit_codes=(("0", "the container is there"), ("125", "crate could not make it")),
)


_OPTIONS = "="  # several networks, or one with options: no name of a network


def config_from(words: Words) -> ContainerConfig:
    """Return what the flags and arguments of create and run ask for. Raises UsageError, InvalidValue, Unsupported."""
    cwd = working_directory()
    entrypoint = words.text("entrypoint")
    stop_signal = words.text("stop-signal")
    if stop_signal is not None:
        wish.parse_signal(stop_signal)
    config = ContainerConfig(
        image=words.arguments[0],
        command=words.arguments[1:],
        name=_checked(words, "name", wish.check_name),
        entrypoint=None if entrypoint is None else (entrypoint,) if entrypoint else (),
        env=environment(words),
        working_dir=_checked(words, "workdir", _working_dir),
        user=words.text("user"),
        hostname=_checked(words, "hostname", wish.check_hostname),
        labels=dict(map(wish.parse_label, words.all("label"))),
        tty=words.yes("tty"),
        interactive=words.yes("interactive"),
        remove=words.yes("rm"),
        read_only=words.yes("read-only"),
        mounts=_mounts(words, cwd),
        network=_mode(words.all("network")),
        cap_add=tuple(map(wish.check_capability, words.all("cap-add"))),
        cap_drop=tuple(map(wish.check_capability, words.all("cap-drop"))),
        privileged=words.yes("privileged"),
        init=words.yes("init"),
        platform=words.text("platform"),
        stop_signal=stop_signal,
        stop_timeout=words.number("stop-timeout", -1),
    )
    if words.given("publish") or config.network == _OPTIONS:
        from cratebox.engine import network_words

        mode, networks = network_words.networks(words.all("network")) if config.network == _OPTIONS else (config.network, ())
        config = config.replace(network=mode, networks=networks, ports=network_words.ports(words.all("publish")))
    for module in words.modules:
        config = module.wished(words, config)
    return config


def _mode(given: tuple[str, ...]) -> str:
    """Return what one --network says, "" for the default; whether there is more to it than a name is looked at by config_from."""
    given = tuple(text for text in given if text)
    if len(given) > 1 or any("=" in text or "," in text for text in given):
        return _OPTIONS
    return "" if not given else "bridge" if given[0] == "default" else wish.check_network(given[0])


def working_directory() -> str:
    """Return what a relative path is below. A directory that was deleted is in nobody's way who names none."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/proc/self/cwd"


def _checked(words: Words, name: str, check: Callable[[str], str]) -> str | None:
    return check(text) if (text := words.text(name)) else None  # empty, as scripts give it, is not given: as with Docker


def _working_dir(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise InvalidValue(f"the working directory {text or 'is empty'}: it is not absolute", "--workdir begins with /")
    return text


def environment(words: Words) -> tuple[str, ...]:
    """Those of files first: what stands on the command line wins."""
    if not words.given("env") and not words.given("env-file"):
        return ()
    from cratebox.engine.environment import parse_env, read_env_file

    found = [entry for path in words.all("env-file") for entry in read_env_file(path, os.environ)]
    for text in words.all("env"):
        entry = parse_env(text, os.environ)
        if entry is not None:
            found.append(entry)
    return tuple(found)


def _mounts(words: Words, cwd: str) -> tuple[MountWish, ...]:
    mounts = [wish.parse_volume(text, cwd) for text in words.all("volume")]
    mounts += [wish.parse_mount(text, cwd) for text in words.all("mount")]
    mounts += [wish.parse_tmpfs(text) for text in words.all("tmpfs")]
    targets = set()
    for mount in mounts:
        if mount.target in targets:
            raise InvalidValue(f"two mounts at {mount.target}")
        targets.add(mount.target)
    return tuple(mounts)


def main(words: Words) -> int:
    """Make the container and print its ID."""
    config = config_from(words)
    progress = PullProgress(words.yes("quiet"))
    try:
        containers = open_engine(words).containers
        pull = words.text("pull") or "missing"
        cidfile, replace = words.text("cidfile"), words.yes("replace")
        container = containers.create(config, pull=pull, progress=progress, cidfile=cidfile, replace=replace)
    finally:
        progress.close()
    print(container.id)
    return 0
