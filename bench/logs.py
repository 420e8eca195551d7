"""How fast a container can write that is held back by its log: megabytes a second of output, by the container's own clock.

bench/logs.py [--rounds N] [--seconds N] [--write] [--only crate,podman]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
from start import NAME, ROOTFUL, of_root

import peers

DRIVERS = {"crate": ("json-file", "k8s-file"), "podman": ("k8s-file",), "docker": ("json-file",)}
LINES = {"of 1 byte": "y", "of 100 bytes": "x" * 100, "of 4,000 bytes": "z" * 4000}
_MEGABYTE = 1_000_000
_FIRST = 2  # megabytes, of which is learnt how many take the wished time
_MOST = 250  # megabytes: all drivers keep as many
# What is to be written lies ready as a file, for busybox's `yes` is slower than a log. /proc/uptime is in centiseconds.
SCRIPT = """
yes {line} | head -c {size} > /text
read begun rest < /proc/uptime
cat /text {times}
read ended rest < /proc/uptime
echo took $begun $ended >&2
"""
Rates = dict[str, list[float]]


def rate(engine: peers.Engine, driver: str, kind: str, megabytes: int) -> float:
    """Return the megabytes a second that one container could write."""
    script = SCRIPT.format(line=LINES[kind], size=_MEGABYTE, times="/text " * (megabytes - 1))
    peers.call(engine.run_logged(driver, NAME, "writer", "sh", "-c", script))
    try:
        return megabytes * _MEGABYTE / 1e6 / _took(engine)
    finally:
        peers.call(engine.remove("writer"))


def _took(engine: peers.Engine) -> float:
    """Wait until the container has ended; return how many seconds it has said that it took."""
    peers.call(engine.about("writer", "wait"))
    logs = engine.about("writer", "logs")
    done = subprocess.run(logs.argv, env=logs.env, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)
    words = done.stderr.decode(errors="replace").rpartition("took ")[2].split()
    if len(words) != 2:
        raise peers.Absent(f"{engine.name}: its container did not tell how long it took")
    return max(float(words[1]) - float(words[0]), 0.01)


def rates(engines: list[peers.Engine], kind: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the median rate of each engine and driver; they take turns, each with as much as takes it the wished time."""
    contestants = [(engine, driver) for engine in engines for driver in DRIVERS[engine.name]]
    amounts = [fitting(rate(engine, driver, kind, _FIRST), arguments.seconds) for engine, driver in contestants]
    found: Rates = {}
    for _turn in range(arguments.rounds):
        for (engine, driver), megabytes in zip(contestants, amounts, strict=True):
            found.setdefault(f"{engine.name}, {driver}", []).append(rate(engine, driver, kind, megabytes))
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def fitting(speed: float, seconds: float) -> int:
    """Return how many megabytes take about `seconds` at this speed."""
    return min(max(round(speed * seconds), 1), _MOST)


def measured(engines: list[peers.Engine], arguments: argparse.Namespace) -> tuple[str, str]:
    """crate is compared with those that have the same driver."""
    rows = {kind: (rates(engines, kind, arguments), "{:.1f} MB/s") for kind in LINES}
    names = list(next(iter(rows.values()))[0])
    pairs = [(f"crate, {name.partition(', ')[2]}", name) for name in names if not name.startswith("crate")]
    text = measure.rows_table("lines", rows, [(ours, theirs) for ours, theirs in pairs if ours in names])
    return text, f"each container wrote for about {arguments.seconds:g} s; {arguments.rounds} rounds"


def main() -> int:
    makers = {name: make for name, make in ROOTFUL.items() if name in DRIVERS}
    options = {"rounds": 7, "seconds": 1.0}
    return measure.comparison("logs", __doc__, options, lambda only: of_root(makers, only), measured)


if __name__ == "__main__":
    sys.exit(main())
