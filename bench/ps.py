"""How long `ps -a` takes with many containers, most of them made and never started, a few running, beside podman and docker.

bench/ps.py [--containers N] [--running N] [--rounds N] [--write] [--only crate,docker]
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
from start import NAME, ROOTFUL, of_root

import peers

_SLEEP = ("sleep", "1000")
_AT_ONCE = 4


def fill(engine: peers.Engine, containers: int, running: int) -> None:
    """Give the engine its containers: `running` of them run."""
    names = [f"c{number}" for number in range(containers)]
    wanted = [engine.run_detached(NAME, name, *_SLEEP) for name in names[:running]]
    wanted += [engine.create(NAME, name, *_SLEEP) for name in names[running:]]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(measure.run, wanted))


def measured(engines: list[peers.Engine], arguments: argparse.Namespace) -> tuple[str, str]:
    """Return the table for engines that have their containers, and what they had."""
    try:
        for engine in engines:
            print(f"  {engine.name}: making {arguments.containers} containers", flush=True)
            fill(engine, arguments.containers, arguments.running)
        contestants = {engine.name: engine.listing for engine in engines}
        text = measure.table(measure.in_turn(contestants, arguments.rounds, warm=3), "ms")
        return text, f"{arguments.containers} containers, {arguments.running} of them running; {arguments.rounds} rounds"
    finally:
        for engine in engines:
            for number in range(arguments.running):
                end(engine, f"c{number}")


def end(engine: peers.Engine, name: str) -> None:
    """Remove a container that may not have come to be."""
    try:
        peers.call(engine.remove(name))
    except peers.Absent as absent:
        print(f"  {engine.name}: {absent}")


def main() -> int:
    makers = {name: make for name, make in ROOTFUL.items() if name in ("crate", "podman", "docker")}
    options = {"rounds": 30, "containers": 500, "running": 10}
    return measure.comparison("ps", __doc__, options, lambda only: of_root(makers, only), measured)


if __name__ == "__main__":
    sys.exit(main())
