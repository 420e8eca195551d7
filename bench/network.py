"""What a network costs: a start with a published port beside one without network; bytes a second and round trips through it.

bench/network.py [--rounds N] [--seconds N] [--write] [--only crate,podman] [--as root,user]
                 [--what start,traffic,neighbours,crowd]

As root also what goes from container to container, and a hundred containers on one network.

Everybody is in a network namespace of the benchmark's own, so that nobody's bridges and rules touch the machine's, with
/dev/net/tun open to the ordinary user, and a default route that leads nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
from measure import Command
from start import NAME, prepared, remove

import peers
from cratebox.linux import const, namespaces
from support import people, tun
from support.images import busybox_image, write_docker_archive, write_oci_layout
from support.people import Person

PORT, ADDRESS = 38080, "198.51.100.2"
_CROWD, _AT_ONCE = 100, 8
_USERS_TOO = ("start", "traffic")  # podman's containers of an ordinary user reach each other on other networks alone
_SETUP = f"""
mount --make-rprivate / && mount -t tmpfs -o mode=755 none /run/netns 2>/dev/null
ip link set lo up && ip link add out0 type veth peer name out1 && ip link set out1 up && ip link set out0 up &&
ip addr add {ADDRESS}/24 dev out0 && ip route add default via 198.51.100.1 && ip route add 203.0.113.0/24 dev out1
"""
_ECHO = """
import socket, sys
server = socket.create_server(("0.0.0.0", 7)); server.listen()
while True:
    one, _ = server.accept(); one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := one.recv(64): one.sendall(data)
"""


_ASK = """
import socket, statistics, sys, time
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
taken = []
for _ in range(int(sys.argv[3])):
    begun = time.perf_counter()
    sock.sendall(b"ping")
    sock.recv(64)
    taken.append(time.perf_counter() - begun)
print(statistics.median(taken) * 1e6)
"""


class BridgedDocker(peers.Docker):
    network = ()  # its own bridge and its own rules


class Way:
    """An engine with a network of one kind: how a container is run there."""

    def __init__(self, engine: peers.Engine, name: str, words: tuple[str, ...], path: str = "") -> None:
        self.engine, self.name, self.words, self._path = engine, name, words, path

    def command(self, *words: str) -> Command:
        found = self.engine.verb(*words)
        return replace(found, env={**found.env, "PATH": self._path}) if self._path else found

    def run(self, *words: str) -> Command:
        return self.command("run", "--rm", "--pull", "never", *words, self.engine.image(NAME), "true")

    def published(self, *ports: str) -> tuple[str, ...]:
        return (*self.words, *(word for port in ports for word in ("-p", port)))


def ways(engine: peers.Engine, person: Person, place: Path) -> list[Way]:
    """Return the kinds of networks that are compared."""
    if person.is_root:
        return [Way(engine, engine.name, ("--network", "podman" if engine.name == "podman" else "bridge"))]
    programs = [name for name in ("pasta", "slirp4netns") if shutil.which(name, path=people.PATH)]
    if engine.name != "crate":
        return [Way(engine, f"{engine.name} {name}", ("--network", name)) for name in programs]
    return [Way(engine, f"crate {name}", ("--network", "bridge"), _alone(place, name)) for name in programs]


def _alone(place: Path, name: str) -> str:
    """Return a PATH on which this program is the only one."""
    there = place / f"only-{name}"
    there.mkdir(exist_ok=True)
    for one in (name, "newuidmap", "newgidmap"):
        if found := shutil.which(one, path=people.PATH):
            (there / one).symlink_to(found)
    return str(there)


def working(candidates: list[Way]) -> list[Way]:
    found = []
    for way in candidates:
        try:
            peers.call(way.run(*way.published(f"127.0.0.1:{PORT}:80")))
            found.append(way)
        except (peers.Absent, subprocess.SubprocessError) as error:
            print(f"  {way.name}: {error}")
    return found


# How long a start takes


def starts(found: list[Way], rounds: int) -> str:
    contestants: dict[str, Callable[[], Command]] = {}
    for way in found:
        contestants[f"{way.name}, published port"] = lambda way=way: way.run(*way.published(f"127.0.0.1:{PORT}:80"))
        contestants[f"{way.name}, network"] = lambda way=way: way.run(*way.words)
        contestants[f"{way.engine.name}, no network"] = lambda way=way: way.run("--network", "none")
    samples = measure.in_turn(contestants, rounds, warm=2)
    lines = ["| | median ms | fastest |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.median * 1000:.1f} | {min(one.seconds) * 1000:.1f} |" for one in samples]
    return "\n".join(lines)


# What goes through it


def detached(way: Way, name: str, *words: str) -> tuple[str, ...]:
    """Start a container that stays; return the words that run a program in its network namespace."""
    detached_only(way, name, *words)
    return "nsenter", "-t", peers.call(way.command("inspect", "--format", "{{.State.Pid}}", name)), "-n"


def detached_only(way: Way, name: str, *words: str) -> None:
    """Start a container that stays."""
    command = way.command("run", "-d", "--pull", "never", "--name", name, *words, way.engine.image(NAME), "sleep", "600")
    identity = {} if command.uid is None else {"user": command.uid, "group": command.gid, "extra_groups": []}
    subprocess.run(command.argv, env=command.env, cwd="/", stdin=-3, stdout=-3, stderr=-3, check=True, **identity)


class Server:
    """A container of `way` with programs of ours in its network namespace, which serve on published ports."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._inside = detached(way, "bench-served", *way.published(f"{PORT}:5201", f"{PORT + 1}:7"))
        self.asked_from: tuple[str, ...] = ()  # words before a client's, to run it elsewhere than on the machine
        self._address, self._port, self._echo_port = ADDRESS, PORT, PORT + 1
        self._echo = self._serve(sys.executable, "-c", _ECHO)

    def _serve(self, *argv: str) -> subprocess.Popen[bytes]:
        served = subprocess.Popen([*self._inside, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        return served

    def end(self) -> None:
        self._echo.kill()
        self._echo.wait()
        peers.call(self.way.engine.remove("bench-served"))

    def gigabits(self, seconds: int, *words: str) -> float:
        server = self._serve(peers.need("iperf3"), "-s")  # a new one each time: it may still be busy with the last one
        try:
            where = ("-c", self._address, "-p", str(self._port))
            argv = [*self.asked_from, peers.need("iperf3"), "-J", *where, "-t", str(seconds), *words]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60)
        finally:
            server.kill()
            server.wait()
        told = json.loads(done.stdout) if done.stdout else {}
        if "error" in told or "sum_received" not in told.get("end", {}):
            raise measure.Failed(f"iperf3 {' '.join(words)}: {told.get('error') or done.stderr or 'no result'}")
        return float(told["end"]["sum_received"]["bits_per_second"]) / 1e9

    def round_trip(self, times: int = 2000) -> float:
        """Return microseconds, the median."""
        argv = [*self.asked_from, sys.executable, "-c", _ASK, self._address, str(self._echo_port), str(times)]
        return float(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout)

    def ask_from_beside(self, asking: tuple[str, ...]) -> None:
        """Let clients run behind the words `asking`, in another container, and go to the address of this one."""
        told = json.loads(subprocess.check_output([*self._inside, "ip", "-j", "-4", "addr", "show", "up", "scope", "global"]))
        self.asked_from, self._address = asking, told[0]["addr_info"][0]["local"]
        self._port, self._echo_port = 5201, 7


def traffic(found: list[Way], seconds: int) -> str:
    """From the machine's address, by a published port."""
    return _through(found, seconds, ("to the container Gbit/s", "from it Gbit/s"), lambda _way, _server: ())


def neighbours(found: list[Way], seconds: int) -> str:
    """From another container of the same network, by the container's own address."""

    def begin(way: Way, server: Server) -> tuple[str, ...]:
        server.ask_from_beside(detached(way, "bench-asking", *way.words))
        return ("bench-asking",)

    return _through(found, seconds, ("container to container Gbit/s", "the other way Gbit/s"), begin)


def _through(found: list[Way], seconds: int, columns: tuple[str, str], begin: Callable[[Way, Server], tuple[str, ...]]) -> str:
    """Measure bytes and round trips; `begin` makes what clients need, and returns the containers of that."""
    lines = [f"| | {columns[0]} | {columns[1]} | round trip µs |", "|---|---|---|---|"]
    for way in found:
        more: tuple[str, ...] = ()
        try:
            server = Server(way)
            try:
                more = begin(way, server)
                measured = (
                    lambda: f"{server.gigabits(seconds):.2f}",  # noqa: B023  called in this turn
                    lambda: f"{server.gigabits(seconds, '-R'):.2f}",  # noqa: B023
                    lambda: f"{server.round_trip():.0f}",  # noqa: B023
                )
                lines.append(f"| {way.name} | " + " | ".join(_or_dash(way, one) for one in measured) + " |")
            finally:
                server.end()
                for name in more:
                    peers.call(way.engine.remove(name))
        except (peers.Absent, measure.Failed, OSError, subprocess.SubprocessError) as error:
            print(f"  {way.name} is left out: {error}")
    return "\n".join(lines)


def _or_dash(way: Way, told: Callable[[], str]) -> str:
    try:
        return told()
    except (measure.Failed, OSError, subprocess.SubprocessError) as error:
        print(f"  {way.name}: {error}")
        return "-"


# Many containers on one network


def crowd(found: list[Way], rounds: int) -> str:
    """Return how long it takes to start `_CROWD` containers on one network, `_AT_ONCE` clients at a time, in turn."""
    taken: dict[str, list[float]] = {way.name: [] for way in found}
    for _ in range(rounds):
        for way in found:
            try:
                taken[way.name].append(_started(way))
            except (peers.Absent, subprocess.SubprocessError) as error:
                print(f"  {way.name} is left out: {error}")
    lines = ["| | median s | fastest | crate : it |", "|---|---|---|---|"]
    medians = {name: statistics.median(seconds) for name, seconds in taken.items() if seconds}
    for name, median in medians.items():
        ratio = f"{medians['crate'] / median:.2f}" if name != "crate" and "crate" in medians else ""
        lines.append(f"| {name} | {median:.2f} | {min(taken[name]):.2f} | {ratio} |")
    return "\n".join(lines)


def _started(way: Way) -> float:
    names, network = [f"bench-crowd-{number}" for number in range(_CROWD)], f"bench-{os.urandom(4).hex()}"
    peers.call(way.command("network", "create", network))
    try:
        begun = time.perf_counter()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: detached_only(way, name, "--network", network), names))
        return time.perf_counter() - begun
    finally:
        peers.call(way.engine.remove(*names))
        _remove_network(way, network)


def _remove_network(way: Way, network: str) -> None:
    for _ in range(50):  # docker says that containers are removed before they are
        try:
            peers.call(way.command("network", "rm", network))
        except peers.Absent:
            time.sleep(0.2)
        else:
            return


def measure_as(name: str, scratch: Path, arguments: argparse.Namespace) -> None:
    if reason := people.why_not(name):
        print(f"as {name}: {reason}")
        return
    place = scratch / name
    place.mkdir(mode=0o755)
    person, image = people.person(name, place / "home"), busybox_image()
    archive = write_docker_archive(place / "image.tar", f"{NAME}:latest", image)
    layout = write_oci_layout(place / "layout", {NAME: image})
    makers = {"crate": peers.Crate, "podman": peers.Podman, **({"docker": BridgedDocker} if name == "root" else {})}
    with prepared(makers, person, place, archive, layout, arguments.only) as engines:
        found = working([way for engine in engines for way in ways(engine, person, place)])
        versions = "; ".join(engine.version() for engine in engines)
        for what, text in (
            ("start", lambda: starts(found, arguments.rounds)),
            ("traffic", lambda: traffic(found, arguments.seconds)),
            ("neighbours", lambda: neighbours(found, arguments.seconds)),
            ("crowd", lambda: crowd(found, max(3, arguments.rounds // 5))),
        ):
            if what in arguments.what and (person.is_root or what in _USERS_TOO):
                told = text()
                print(told)
                if arguments.write:
                    measure.write(f"network {what} as {name}", f"{measure.machine()}.\n\n{told}\n\n{versions}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=5, help="of each throughput")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="crate,podman,docker")
    parser.add_argument("--as", dest="people", type=lambda text: text.split(","), default=["root", "user"])
    parser.add_argument("--what", type=lambda text: text.split(","), default=["start", "traffic", "neighbours", "crowd"])
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root, to make the network that everybody is measured in")
        return 1
    measure.end_in_order()
    print(measure.machine())
    scratch = Path(tempfile.mkdtemp(prefix="crate-bench-", dir="/var/tmp"))
    scratch.chmod(0o755)
    try:
        namespaces.unshare(const.CLONE_NEWNS | const.CLONE_NEWNET)
        subprocess.run(["sh", "-c", _SETUP], check=True)
        if not tun.why_not():
            os.mknod(scratch / "tun", 0o020666, tun.TUN.stat().st_rdev)
            (scratch / "tun").chmod(0o666)
            subprocess.run(["mount", "--bind", scratch / "tun", tun.TUN], check=True)
        for name in arguments.people:
            print(f"\nas {name}")
            measure_as(name, scratch, arguments)
    finally:
        remove(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
