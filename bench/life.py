"""What containers cost while they live: `run -d` until the prompt is back, `exec`, starts a second, memory of one that runs.

bench/life.py [--rounds N] [--containers N] [--at-once N] [--write] [--only crate,podman]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
from start import NAME, ROOTFUL, of_root

import peers

_SLEEP = ("sleep", "1000")
_SETTLE = 1.0  # seconds; an engine may still be busy with what it has just answered
Medians = dict[str, float]


def until_the_prompt(engines: list[peers.Engine], rounds: int) -> Medians:
    """Return the median seconds of `run -d` by engine; containers are removed outside of the measured time."""

    def contestant(engine: peers.Engine) -> Callable[[], measure.Command]:
        count = iter(range(10_000))

        def prepared() -> measure.Command:
            turn = next(count)
            if turn:
                peers.call(engine.remove(f"d{turn - 1}"))
            return engine.run_detached(NAME, f"d{turn}", *_SLEEP)

        return prepared

    found = measure.in_turn({engine.name: contestant(engine) for engine in engines}, rounds, warm=2)
    for engine in engines:
        peers.call(engine.remove(f"d{rounds + 1}"))
    return {samples.name: samples.median for samples in found}


def executions(engines: list[peers.Engine], rounds: int) -> Medians:
    """Return the median seconds of `exec CONTAINER true` by engine."""
    for engine in engines:
        peers.call(engine.run_detached(NAME, "executed", *_SLEEP))
    try:
        contestants = {engine.name: (lambda engine=engine: engine.execute("executed", "true")) for engine in engines}
        return {samples.name: samples.median for samples in measure.in_turn(contestants, rounds, warm=2)}
    finally:
        for engine in engines:
            peers.call(engine.remove("executed"))


def starts_a_second(engines: list[peers.Engine], rounds: int, at_once: int) -> Medians:
    """Return how many `run --rm` end in a second, where each of `at_once` clients begins the next as one has ended."""
    rates: dict[str, list[float]] = {engine.name: [] for engine in engines}
    each = 5 * at_once
    with ThreadPoolExecutor(at_once) as pool:
        for turn in range(-1, rounds):
            for engine in engines:
                commands = [engine.run(NAME, "true") for _ in range(each)]
                begun = time.perf_counter()
                list(pool.map(measure.run, commands))
                if turn >= 0:
                    rates[engine.name].append(each / (time.perf_counter() - begun))
    return {name: statistics.median(found) for name, found in rates.items()}


def memory_of_one(engine: peers.Engine, count: int) -> float:
    """Return the kB of PSS that `count` running detached containers cost more than none, divided by `count`.

    What the container itself is (`sleep`) does not count; daemons count with what they have grown by.
    """
    names = [f"m{number}" for number in range(count)]
    before = _processes()
    idle = sum(_pss([pid]) for pid in engine.daemons)
    try:
        for name in names:
            measure.run(engine.run_detached(NAME, name, *_SLEEP))
        time.sleep(_SETTLE)
        ours = [pid for pid in _processes() - before if not _is_container(pid)]
        grown = sum(_pss([pid]) for pid in engine.daemons) - idle
        return (_pss(ours) + max(grown, 0)) / count
    finally:
        peers.call(engine.remove(*names))


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _is_container(pid: int) -> bool:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True  # it has ended: nothing that stays
    return tuple(word.decode(errors="replace") for word in argv[:2]) == _SLEEP or not argv[0]


def _pss(pids: Iterable[int]) -> int:
    found = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found


def measured(engines: list[peers.Engine], arguments: argparse.Namespace) -> tuple[str, str]:
    full = [engine for engine in engines if not isinstance(engine, peers.Bundle)]
    milliseconds = "{:.1f} ms"
    prompt = until_the_prompt(full, arguments.rounds)
    execs = executions(full, arguments.rounds)
    rates = starts_a_second(engines, max(arguments.rounds // 6, 3), arguments.at_once)
    sizes = {engine.name: memory_of_one(engine, arguments.containers) for engine in full}
    text = measure.rows_table(
        "",
        {
            f"starts a second, {arguments.at_once} at once": (rates, "{:.1f}"),
            "`run -d` until the prompt": ({name: taken * 1000 for name, taken in prompt.items()}, milliseconds),
            "`exec ID true`": ({name: taken * 1000 for name, taken in execs.items()}, milliseconds),
            f"memory of one of {arguments.containers} running": (sizes, "{:.0f} kB"),
        },
    )
    return text, f"{arguments.rounds} rounds"


def main() -> int:
    options = {"rounds": 30, "containers": 100, "at-once": 8}
    names = "crate,runc,crun,podman,docker"
    return measure.comparison("life", __doc__, options, lambda only: of_root(ROOTFUL, only), measured, names)


if __name__ == "__main__":
    sys.exit(main())
