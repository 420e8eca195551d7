"""How many names of other containers can be asked for in a second, by one who waits for each answer and by many at once.

bench/names.py [--rounds N] [--questions N] [--write] [--only crate,podman]
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
from start import NAME, ROOTFUL, of_root

import peers
from cratebox.linux import const, namespaces
from support import dns

NETWORK, ASKER, ASKED = "bench-names", "bench-asker", "bench-asked"
HOW = {"one after the other": 1, "16 at once": 16}
ENGINES = ("crate", "podman", "docker")
_PATIENCE = 5.0  # seconds until a question counts as lost


class Networked:
    """Two containers of an engine on a network that it has made; a process of ours asks from where one of them is."""

    def __init__(self, engine: peers.Engine) -> None:
        self.engine = engine
        peers.call(engine.verb("network", "create", NETWORK))
        for name in (ASKED, ASKER):
            words = ("--pull", "never", "--network", NETWORK, "--name", name, engine.image(NAME), "sleep", "600")
            quietly(engine.verb("run", "-d", *words))
        self._pid = int(peers.call(engine.verb("inspect", "--format", "{{.State.Pid}}", ASKER)))
        text = Path(f"/proc/{self._pid}/root/etc/resolv.conf").read_text()
        servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver")]
        if not servers:
            raise peers.Absent(f"{engine.name}: its containers have no server of names")
        self._server = (servers[0], 53)

    def end(self) -> None:
        peers.call(self.engine.remove(ASKED, ASKER))
        peers.call(self.engine.verb("network", "rm", NETWORK))

    def rate(self, questions: int, at_once: int) -> float:
        """Return the answers a second."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY)
        namespaces.setns(there, const.CLONE_NEWNET)
        try:
            return _rate(self._server, questions, at_once)
        finally:
            namespaces.setns(own, const.CLONE_NEWNET)
            os.close(own)
            os.close(there)


def quietly(command: measure.Command) -> None:
    """Run a command whose output a container may hold open."""
    done = subprocess.run(
        command.argv, env=command.env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120
    )
    if done.returncode:
        raise peers.Absent(f"{' '.join(command.argv[:6])} failed")


def _rate(server: tuple[str, int], questions: int, at_once: int) -> float:
    messages = [dns.question(ASKED, number=number) for number in range(at_once)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(server)
        for message in messages:
            sock.send(message)
        begun = time.perf_counter()
        for _ in range(questions):
            answer = sock.recv(4096)
            sock.send(messages[int.from_bytes(answer[:2], "big")])
        took = time.perf_counter() - begun
    if not dns.read(answer).values:
        raise peers.Absent("its containers do not find each other")
    return questions / took


def rates(engines: list[peers.Engine], arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the median rate of each engine, for each way of asking; they take turns."""
    found: dict[str, dict[str, list[float]]] = {how: {} for how in HOW}
    with ExitStack() as ending:
        ready = []
        for engine in engines:
            try:
                ready.append(Networked(engine))
                ending.callback(ready[-1].end)
            except peers.Absent as absent:
                print(f"  {engine.name}: {absent}")
        for _ in range(arguments.rounds):
            for how, at_once in HOW.items():
                for one in ready:
                    found[how].setdefault(one.engine.name, []).append(one.rate(arguments.questions, at_once))
    return {how: {name: statistics.median(values) for name, values in rows.items()} for how, rows in found.items()}


def measured(engines: list[peers.Engine], arguments: argparse.Namespace) -> tuple[str, str]:
    text = measure.rows_table("names a second", {how: (found, "{:,.0f}") for how, found in rates(engines, arguments).items()})
    return text, f"{arguments.questions:,} questions a round, {arguments.rounds} rounds"


def main() -> int:
    makers = {name: make for name, make in ROOTFUL.items() if name in ENGINES}
    options = {"rounds": 7, "questions": 5000}
    return measure.comparison("names", __doc__, options, lambda only: of_root(makers, only), measured)


if __name__ == "__main__":
    sys.exit(main())
