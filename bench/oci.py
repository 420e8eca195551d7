"""crate-oci beside runc and crun on one minimal bundle: all namespaces, limits, Docker's default seccomp profile.

bench/oci.py [--rounds N] [--at-once N] [--write] [--only crate-oci,runc]
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure

import peers
from support import people
from support.commands import command as crate_command
from support.images import BUSYBOX

_ENV = {"PATH": people.PATH}
_LIMITS = {
    "memory": {"limit": 256 << 20},
    "cpu": {"shares": 512, "quota": 100_000, "period": 100_000},
    "pids": {"limit": 100},
    "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
}
_NAMESPACES = ("pid", "mount", "uts", "ipc", "cgroup", "network")


class Runtime:
    """A runtime with runc's command line, a state directory and two bundles of its own: one ends at once, one sleeps."""

    def __init__(self, name: str, program: str | Path, place: Path, limits: dict[str, object]) -> None:
        self.name = name
        self.program = str(program)
        self.place = place
        self._turn = 0
        for kind, argv in (("short", ["/bin/true"]), ("long", ["/bin/sleep", "1000"])):
            bundle = place / kind
            (bundle / "rootfs/bin").mkdir(parents=True)
            for tool in ("true", "sleep"):
                shutil.copy(BUSYBOX, bundle / "rootfs/bin" / tool)
            (bundle / "config.json").write_text(json.dumps(spec(argv, limits)))

    def argv(self, *words: str | Path) -> list[str]:
        return [self.program, "--root", str(self.place / "state"), *map(str, words)]

    def do(self, *words: str | Path) -> None:
        """Run one verb. Raises measure.Failed with what it said."""
        # What create is given as its standard streams is the container's: a pipe would have to be read to its end.
        with tempfile.TemporaryFile(dir=self.place) as errors:
            pid = os.posix_spawn(
                self.program,
                self.argv(*words),
                _ENV,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
                ],
            )
            code = _ended(pid)
            if code:
                errors.seek(0)
                raise measure.Failed(
                    f"{self.name} {words[0]} ended with {code}: {errors.read().decode(errors='replace').strip()}"
                )

    def name_of_next(self) -> str:
        self._turn += 1
        return f"bench-{os.getpid()}-{self._turn}"

    def run(self, name: str) -> None:
        self.do("run", "--bundle", self.place / "short", name)

    def create_to_delete(self, name: str) -> None:
        pid_file = self.place / f"{name}.pid"
        self.do("create", "--bundle", self.place / "short", "--pid-file", pid_file, name)
        pidfd = os.pidfd_open(int(pid_file.read_text()))
        try:
            self.do("start", name)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(60_000)
        finally:
            os.close(pidfd)
            pid_file.unlink()
        self.do("delete", name)

    def begin_long(self) -> str:
        name = self.name_of_next()
        self.do("run", "--detach", "--bundle", self.place / "long", "--pid-file", self.place / "long.pid", name)
        return name

    def end(self) -> None:
        """Delete what is left of a benchmark that was ended."""
        listed = subprocess.run(self.argv("list", "--quiet"), capture_output=True, text=True, env=_ENV)
        for name in listed.stdout.split():
            self.do("delete", "--force", name)

    def version(self) -> str:
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, env=_ENV)
        return said.stdout.splitlines()[0]


def _ended(pid: int) -> int:
    """Wait for a child and return its exit code; a benchmark that is to end waits for it as well, to remove what it makes."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except SystemExit:
        os.waitpid(pid, 0)
        raise


def spec(argv: list[str], limits: dict[str, object]) -> dict[str, object]:
    from cratebox.runtime.starter import starter

    made = starter()
    capabilities = [f"CAP_{name}" for name in peers.DEFAULT_CAPABILITIES]
    made["ociVersion"] = "1.0.2"  # the newest that all of them know
    made["process"] |= {"terminal": False, "args": argv, "rlimits": [], "noNewPrivileges": False}
    made["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    made["linux"] |= {
        "namespaces": [{"type": kind} for kind in _NAMESPACES],
        "resources": limits,
        "seccomp": peers.default_seccomp(capabilities),
    }
    return made


def timed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def at_once(runtime: Runtime, action: Callable[[str], None], count: int) -> float:
    names = [runtime.name_of_next() for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return timed(lambda: list(pool.map(action, names)))


def measurements(runtime: Runtime, running: str, count: int) -> dict[str, Callable[[], float]]:
    """Return what is measured of a runtime, each as a function that does it once and returns the seconds it took."""
    return {
        "run": lambda: timed(lambda: runtime.run(runtime.name_of_next())),
        "create, start, wait, delete": lambda: timed(lambda: runtime.create_to_delete(runtime.name_of_next())),
        f"run, {count} at once": lambda: at_once(runtime, runtime.run, count),
        f"create to delete, {count} at once": lambda: at_once(runtime, runtime.create_to_delete, count),
        "state": lambda: timed(lambda: runtime.do("state", running)),
        "kill": lambda: timed(lambda: runtime.do("kill", running, "CONT")),
    }


def in_turn(runtimes: list[Runtime], rounds: int, count: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each measurement by runtime. Each does each once a round."""
    running = {runtime.name: runtime.begin_long() for runtime in runtimes}
    try:
        todo = {runtime.name: measurements(runtime, running[runtime.name], count) for runtime in runtimes}
        seconds: dict[str, dict[str, list[float]]] = {what: {name: [] for name in todo} for what in next(iter(todo.values()))}
        for turn in range(-2, rounds):
            for what, by_name in seconds.items():
                for name, found in by_name.items():
                    taken = todo[name][what]()
                    if turn >= 0:
                        found.append(taken)
    finally:
        for runtime in runtimes:
            runtime.do("delete", "--force", running[runtime.name])
    return {what: {name: statistics.median(found) for name, found in by_name.items()} for what, by_name in seconds.items()}


def memory(runtime: Runtime) -> tuple[int, int]:
    """Return the proportional set sizes in kB that a running container costs: detached, and with `run` waiting for it."""
    name = runtime.begin_long()
    detached = pss(int((runtime.place / "long.pid").read_text()))
    runtime.do("delete", "--force", name)
    name = runtime.name_of_next()
    waiting = subprocess.Popen(
        runtime.argv("run", "--bundle", runtime.place / "long", "--pid-file", runtime.place / "wait.pid", name),
        env=_ENV,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not (runtime.place / "wait.pid").exists() and waiting.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        attached = pss(waiting.pid)
    finally:
        runtime.do("delete", "--force", name)
        waiting.wait(30)
    return detached, detached + attached


def pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def table(medians: dict[str, dict[str, float]], sizes: dict[str, tuple[int, int]]) -> str:
    names = list(sizes)
    others = names[1:]
    lines = ["| | " + " | ".join([*names, *(f"{names[0]} : {other}" for other in others)]) + " |"]
    lines.append("|---" * (1 + len(names) + len(others)) + "|")
    for what, by_name in medians.items():
        times = [f"{by_name[name] * 1000:.1f} ms" for name in names]
        ratios = [f"{by_name[names[0]] / by_name[other]:.2f}" for other in others]
        lines.append(f"| {what} | " + " | ".join([*times, *ratios]) + " |")
    for index, what in enumerate(("memory, detached", "memory, `run` waits")):
        cells = [f"{sizes[name][index]} kB" for name in names]
        ratios = [f"{sizes[names[0]][index] / max(sizes[other][index], 1):.2f}" for other in others]
        lines.append(f"| {what} | " + " | ".join([*cells, *ratios]) + " |")
    return "\n".join(lines)


def prepare(scratch: Path, only: list[str], ending: ExitStack) -> list[Runtime]:
    """Set up the runtimes that are here and run the bundle once with each; say who does not, and why. `ending` ends them."""
    ready = []
    for name in ("crate-oci", "runc", "crun"):
        if only and name not in only:
            continue
        try:
            program = crate_command(name, scratch) if name == "crate-oci" else peers.need(name)
            runtime = Runtime(name, program, scratch / f"of-{name}", _LIMITS)
            ending.callback(runtime.end)
            runtime.run(runtime.name_of_next())
        except (peers.Absent, measure.Failed) as error:
            print(f"  {name} is left out: {error}")
            continue
        ready.append(runtime)
    return ready


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="crate-oci,runc,crun")
    arguments = parser.parse_args()
    if os.geteuid():
        print("needs root")
        return 1
    measure.end_in_order()
    print(measure.machine())
    scratch = Path(tempfile.mkdtemp(prefix="crate-bench-", dir="/var/tmp"))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, scratch, ignore_errors=True)
        runtimes = prepare(scratch, arguments.only, ending)
        if not runtimes:
            return 1
        medians = in_turn(runtimes, arguments.rounds, arguments.at_once)
        text = table(medians, {runtime.name: memory(runtime) for runtime in runtimes})
        print(text)
        if arguments.write:
            versions = "; ".join(runtime.version() for runtime in runtimes)
            measure.write("oci runtimes", f"{measure.machine()}.\n\n{text}\n\n{arguments.rounds} rounds; {versions}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
