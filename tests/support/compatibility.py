"""crate's command line beside Docker's, flag by flag: what docs/compatibility.md says, made from the tables that crate reads.

python tests/support/compatibility.py writes the document; tests/cli/test_compatibility.py tells where it is no longer true.
"""

from __future__ import annotations

from pathlib import Path

from cratebox.cli import main, verbs

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/compatibility.md"
BEGIN, END = "<!-- made by tests/support/compatibility.py -->", "<!-- end -->"

# The flags of Docker 28.2, as `docker VERB --help` lists them.
DOCKER = {
    "create": (
        "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile "
        "cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus "
        "cpuset-mems device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops "
        "disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose gpus group-add "
        "health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname "
        "init interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label label-file link "
        "link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap memory-swappiness mount "
        "name network network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged "
        "publish publish-all pull quiet read-only restart rm runtime security-opt shm-size stop-signal stop-timeout "
        "storage-opt sysctl tmpfs tty ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir"
    ),
    "start": "attach checkpoint checkpoint-dir detach-keys interactive",
    "stop": "signal timeout",
    "restart": "signal timeout",
    "kill": "signal",
    "pause": "",
    "unpause": "",
    "wait": "",
    "ps": "all filter format last latest no-trunc quiet size",
    "logs": "details follow since tail timestamps until",
    "inspect": "format size type",
    "rm": "force link volumes",
    "exec": "detach detach-keys env env-file interactive privileged tty user workdir",
    "attach": "detach-keys no-stdin sig-proxy",
    "top": "",
    "stats": "all format no-stream no-trunc",
    "port": "",
    "rename": "",
    "update": (
        "blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems "
        "memory memory-reservation memory-swap pids-limit restart"
    ),
    "cp": "archive follow-link quiet",
    "diff": "",
    "export": "output",
    "commit": "author change message pause",
    "pull": "all-tags disable-content-trust platform quiet",
    "images": "all digests filter format no-trunc quiet tree",
    "manifest annotate": "arch os os-features os-version variant",
    "manifest create": "amend insecure",
    "manifest inspect": "insecure verbose",
    "manifest push": "insecure purge",
    "manifest rm": "",
    "search": "filter format limit no-trunc",
    "history": "format human no-trunc platform quiet",
    "rmi": "force no-prune platform",
    "tag": "",
    "push": "all-tags disable-content-trust platform quiet",
    "login": "password password-stdin username",
    "logout": "",
    "save": "output platform",
    "load": "input platform quiet",
    "import": "change message platform",
    "events": "filter format since until",
    "info": "format",
    "version": "format",
    "system df": "format verbose",
    "system prune": "all filter force volumes",
    "container prune": "filter force",
    "image prune": "all filter force",
    "network create": (
        "attachable aux-address config-from config-only driver gateway ingress internal ip-range ipam-driver ipam-opt ipv4 "
        "ipv6 label opt scope subnet"
    ),
    "network connect": "alias driver-opt gw-priority ip ip6 link link-local-ip",
    "network disconnect": "force",
    "network inspect": "format verbose",
    "network ls": "filter format no-trunc quiet",
    "network prune": "filter force",
    "network rm": "force",
    "volume create": (
        "availability driver group label limit-bytes opt required-bytes scope secret sharing topology-preferred "
        "topology-required type"
    ),
    "volume ls": "cluster filter format quiet",
    "volume inspect": "format",
    "volume rm": "force",
    "volume prune": "all filter force",
}  # fmt: skip
DOCKER["run"] = DOCKER["create"] + " detach detach-keys sig-proxy"

_WINDOWS = "of Windows alone"
WHY = {
    "insecure": "registries without TLS are named in the settings",
    "tree": "each image is of one platform; `image tree` shows the layers of one",
    "link": "networks have names: `--network-alias`, `network connect --alias`",
    "link-local-ip": "an interface finds such an address by itself",
    **dict.fromkeys(("attachable", "config-from", "config-only", "ingress"), "Swarm's"),
    **dict.fromkeys(("ipam-driver", "ipam-opt"), "there are no plugins"),
    "ipv4": "networks of IPv6 alone are not there",
    "verbose": "Swarm's",
    **dict.fromkeys(("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops", "isolation"), _WINDOWS),
    **dict.fromkeys(("cpu-rt-period", "cpu-rt-runtime"), "most kernels have no real-time groups"),
    **dict.fromkeys(("checkpoint", "checkpoint-dir"), "checkpoints are not there yet"),
    "disable-content-trust": "Docker gives up its signatures; digests are always checked",
    "kernel-memory": "the kernel has given it up",
    "runtime": "there is one, crate-oci",
    "use-api-socket": "there is no daemon, and no socket of one",
    "storage-opt": "there is one way to store, the overlay of the kernel",
    **dict.fromkeys(
        ("availability", "cluster", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing",
         "topology-preferred", "topology-required", "type"),
        "of Swarm's clusters alone",
    ),
}  # fmt: skip
DIFFERS = {
    "manifest create": "A list is of images of this store as well as of registries; what a registry has is fetched with its "
    "layers. It prints the list's digest.",
    "manifest push": "The images are pushed before the list, to wherever it goes. DESTINATION is Podman's.",
    "commit": "Without --pause a container is paused only where the machine has a freezer for it.",
    "system df": "Rows of its own: Container Logs and Image Blobs.",
    "system prune": "It also removes what killed commands have left.",
    "volume create": "To ask for other labels or options than a volume has that is there already is an error "
    "(Docker: none). Nothing is ever mounted on the machine: each container mounts a volume with options for itself.",
    "volume rm": "-f makes no error of a volume that is not there, as with Docker; one that is in use stays.",
    "run": "CRATE_NETWORK and the settings can name another default network than bridge. An address and a hardware address "
    "can be asked for on every network, the default one too. --publish with --network none or container:NAME is an error. "
    "The exit codes are Docker's: 125, 126, 127, 128+N.",
    "network prune": "A network that a stopped container is made for stays, too.",
    "network create": "Options of bridges: mtu, and Docker's name, enable_icc, enable_ip_masquerade, host_binding_ipv4; others "
    "are refused.",
    "exec": "Signals are passed on, and three SIGINT or SIGTERM let go; Docker's end the client alone. What keeps the command "
    "from running ends with 125, 126 or 127. Where crate itself is killed, the command goes on, and its output ends.",
    "cp": "tmpfs and volumes of a running container are seen. Without -a set-user-ID bits come only where the owner stays "
    "the same, and to this machine never; devices and file capabilities do not. The mode of a DESTINATION that is there "
    "stays. With - the owners are those of the archive.",
    "top": "With ps options no column that a process can fill may stand before PID.",
    "start": "`start A B` is two containers where B names one; else B is the command of this start, in place of CMD, and "
    "repeated by the restarts that follow from it.",
    "ps": "--filter isolation is refused. Fields of its own: ImageID, Pid.",
    "inspect": "A wrong template ends with 125 (Docker: 1 or 64). MergedDir is mounted in the container's own mount namespace "
    "and empty outside. CapAdd and CapDrop have the kernel's full names, as since Docker 28. HostConfig.Tmpfs shows "
    "all options, those that were added among them. EndpointID and SandboxID are made of the IDs of container and network.",
    "info": "There is no daemon: what is Docker's daemon's own (Swarm, plugins) is not there.",
    "version": ".Client and .Server are the same.",
}
TEMPLATES = """`--format` reads Go's templates: fields, `range` (with index and variable, `else`, `break`, `continue`), `if`,
`else if`, `with`, variables, pipes, parentheses, comments, `{{-` and `-}}`, strings, raw strings, characters, numbers, `and
or not eq ne lt le gt ge len index slice print printf println`, and Docker's `json join split title lower upper pad
truncate`. Errors are worded as Go words them. Not there, and refused by name: `define`, `template`, `block`, `html`,
`js`, `urlquery`, `call`. A struct is shown as a map (`map[Status:running ...]`) where Go shows its values alone."""


def text() -> str:
    """Return what stands between the marks of the document."""
    parts = [TEMPLATES, "", "| command | not there | of crate's own |", "|---|---|---|"]
    for verb in sorted(DOCKER):
        parts.append(_row(verb))
    parts += ["", "Not there, and why:", ""]
    missing = {name for verb in DOCKER for name in _missing(verb)}
    parts += [f"- `--{name}`: {WHY.get(name, 'not there yet')}" for name in sorted(missing)]
    parts += ["", "Otherwise than Docker's:", ""]
    parts += [f"- `{verb}`: {said}" for verb, said in sorted(DIFFERS.items())]
    parts += ["", f"Commands that are not there: {', '.join(f'`{verb}`' for verb in sorted(_no_verbs()))}."]
    return "\n".join(parts) + "\n"


def _flags(verb: str) -> set[str] | None:
    """Return the names of a verb's flags; None where crate has no such verb."""
    found = verbs.resolve(verb.split())
    if found is None or not found[1]:
        return None
    flags = main.load(found[1]).COMMAND.all_flags
    return {name for flag in flags if not flag.hidden for name in (flag.name, flag.alias) if name}


def _missing(verb: str) -> list[str]:
    flags = _flags(verb)
    return [] if flags is None else sorted(set(DOCKER[verb].split()) - flags)


def _row(verb: str) -> str:
    flags = _flags(verb)
    if flags is None:
        return f"| `{verb}` | the command itself | |"
    own = sorted(flags - set(DOCKER[verb].split()))
    return f"| `{verb}` | {_listed(_missing(verb)) or 'nothing: all flags'} | {_listed(own)} |"


def _listed(names: list[str]) -> str:
    return " ".join(f"--{name}" for name in names)


def _no_verbs() -> set[str]:
    return {verb for verb in (*verbs.LATER, *DOCKER) if verbs.resolve(verb.split()) is None}


def whole(document: str) -> str:
    """Return the document with what stands between its marks made anew."""
    before, _, rest = document.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{text()}{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(whole(DOCUMENT.read_text()))
