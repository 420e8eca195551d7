"""Timing commands in turn, medians and ratios, peak memory, the tables in docs/performance.md, a comparison's command line."""

from __future__ import annotations

import argparse
import os
import platform
import select
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/performance.md"


class Failed(Exception):
    """A measured command did not do its work: its time means nothing."""


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP end this process as an error would: what it has started is ended, removed and deleted first."""
    ending: list[int] = []

    def end(number: int, _frame: object) -> None:
        if not ending:  # a second one must not cut the first one's work short
            ending.append(number)
            raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


@dataclass(frozen=True)
class Command:
    """What is measured: a program with its environment, as a user."""

    argv: list[str]
    env: dict[str, str]
    uid: int | None = None
    gid: int | None = None


@dataclass
class Samples:
    """The measurements of one contestant; seconds, kilobytes."""

    name: str
    seconds: list[float] = field(default_factory=list)
    largest_process: int = 0
    all_processes: int = 0
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def run(command: Command, timeout: float = 600, started: Callable[[int], object] = int) -> float:
    """Run `command` to its end and return the seconds it took. Raises Failed with the end of its errors."""
    options = {} if command.uid is None else {"user": command.uid, "group": command.gid, "extra_groups": []}
    with tempfile.TemporaryFile() as errors, open(os.devnull, "r+b") as nothing:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command.argv, env=command.env, cwd="/", stdin=nothing, stdout=nothing, stderr=errors, **options
        )
        try:
            started(process.pid)
            code = _wait(process, timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        taken = time.perf_counter() - begun
        if code:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()[-3:]
            raise Failed(f"{' '.join(command.argv)} ended with {code}: {' | '.join(said)}")
    return taken


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Wait for the end by a pidfd: `process.wait(timeout)` looks after 1, 3, 7, 15, 31 and 63 ms, which would be the result."""
    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise Failed(f"{process.args} took more than {timeout} seconds")
    finally:
        os.close(pidfd)
    return process.wait()


def in_turn(
    contestants: dict[str, Callable[[], Command]], rounds: int, warm: int, between: Callable[[], None] = lambda: None
) -> list[Samples]:
    """Measure each contestant once a round, so that whatever else the machine does falls on all of them alike.

    The function of a contestant prepares its next run (outside of the measured time) and returns the command. Who fails
    is left out from then on, and said.
    """
    samples = {name: Samples(name) for name in contestants}
    for turn in range(-warm, rounds):
        for name, prepare in contestants.items():
            if samples[name].note:
                continue
            try:
                command = prepare()
                between()
                taken = run(command)
            except (Failed, OSError, subprocess.SubprocessError) as error:
                samples[name].note = str(error)
                print(f"  {name} is left out: {error}", flush=True)
                continue
            if turn >= 0:
                samples[name].seconds.append(taken)
    return [found for found in samples.values() if found.seconds]


def memory_of(command: Command, daemons: Iterable[int] = ()) -> tuple[int, int]:
    """Run `command` and return the peak of its largest process and of all its processes together, in kB.

    `daemons` do the work for some: they count as well. Sampled every 5 ms, so it is not a measurement of time.
    """
    watch = _Watch(daemons)
    try:
        run(command, started=watch.begin)
    finally:
        largest, together = watch.end()
    return largest, together


class _Watch(threading.Thread):
    def __init__(self, daemons: Iterable[int]) -> None:
        super().__init__(daemon=True)
        self._roots = set(daemons)
        self._ended = threading.Event()
        self._largest = self._together = 0

    def begin(self, pid: int) -> None:
        self._roots.add(pid)
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.005):
            sizes = [_resident(pid) for pid in _descendants(self._roots)]
            self._largest = max([self._largest, *(peak for peak, _now in sizes)])
            self._together = max(self._together, sum(now for _peak, now in sizes))

    def end(self) -> tuple[int, int]:
        self._ended.set()
        if self.is_alive():
            self.join()
        return self._largest, self._together


def _descendants(roots: set[int]) -> set[int]:
    """Return `roots` and every process below them."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _resident(pid: int) -> tuple[int, int]:
    """Return VmHWM and the proportional set size of a process in kB; zeros where it is gone."""
    try:
        peak = _kilobytes(f"/proc/{pid}/status", "VmHWM:")
        return peak, _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:")
    except OSError:
        return 0, 0


def _kilobytes(path: str, key: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0


def table(samples: list[Samples], unit: str) -> str:
    """Return a Markdown table of medians, with the ratio of the first contestant to each; `unit` is "ms" or "s"."""
    factor = 1000 if unit == "ms" else 1
    places = 1 if unit == "ms" else 2
    with_memory = any(found.largest_process for found in samples)
    lines = [f"| | median {unit} | fastest | crate : it |" + (" largest process MB | together MB |" if with_memory else "")]
    lines.append("|---|---|---|---|" + ("---|---|" if with_memory else ""))
    for found in samples:
        ratio = "" if found is samples[0] or samples[0].name != "crate" else f"{samples[0].median / found.median:.2f}"
        line = f"| {found.name} | {found.median * factor:.{places}f} | {min(found.seconds) * factor:.{places}f} | {ratio} |"
        if with_memory:
            line += (
                f" {found.largest_process / 1024:.0f} | {found.all_processes / 1024:.0f} |" if found.largest_process else " | |"
            )
        lines.append(line)
    return "\n".join(lines)


def rows_table(corner: str, rows: dict[str, tuple[Mapping[str, float], str]], pairs: Iterable[tuple[str, str]] = ()) -> str:
    """Return a Markdown table: a row a measurement (its values by contestant, and their format), a column a contestant, and the
    ratio of each of `pairs`: by default of crate to each other. A contestant that a row lacks has an empty cell.
    """
    names = list(next(iter(rows.values()))[0])
    pairs = list(pairs) or [("crate", name) for name in names if name != "crate" and "crate" in names]
    lines = [f"| {corner} | " + " | ".join([*names, *(f"crate : {theirs.partition(',')[0]}" for _, theirs in pairs)]) + " |"]
    lines.append("|---" * (1 + len(names) + len(pairs)) + "|")
    for what, (found, form) in rows.items():
        cells = [form.format(found[name]) if name in found else "" for name in names]
        cells += [f"{found[ours] / found[theirs]:.2f}" if ours in found and found.get(theirs) else "" for ours, theirs in pairs]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def comparison(
    section: str,
    about: str | None,
    options: dict[str, Any],
    engines_of: Callable[[list[str]], AbstractContextManager[list[Any]]],
    measured: Callable[[list[Any], argparse.Namespace], tuple[str, str]],
    names: str = "crate,podman,docker",
) -> int:
    """Compare root's engines as a command line asks for it, print the table, and write it into docs/performance.md if asked.

    `options`: those of the measurement, by name, with their defaults, whose type they have. `engines_of`: the engines of these
    names, or all. `measured` returns the table and a note to stand below it. Returns the exit code.
    """
    from support import people  # beside this directory: whoever calls has it on the path

    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in options.items():
        parser.add_argument(f"--{option}", type=type(default), default=default)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help=names)
    arguments = parser.parse_args()
    if reason := people.why_not("root"):
        print(reason)
        return 1
    end_in_order()
    print(machine())
    with engines_of(arguments.only) as engines:
        text, note = measured(engines, arguments)
        versions = "; ".join(engine.version() for engine in engines)
    print(text)
    if arguments.write:
        write(section, f"{machine()}.\n\n{text}\n\n{note}; {versions}.")
    return 0


def machine() -> str:
    """Return one line that says where this was measured."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return f"{os.cpu_count()} x {model}, Linux {platform.release().split('-')[0]}, {system}, Python {platform.python_version()}"


def write(section: str, text: str) -> None:
    """Replace what stands between the marks of `section` in docs/performance.md."""
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    document = DOCUMENT.read_text()
    before, found, rest = document.partition(begin)
    _old, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{DOCUMENT} has no marks of {section}")
    DOCUMENT.write_text(f"{before}{begin}\n{text}\n{end}{after}")
