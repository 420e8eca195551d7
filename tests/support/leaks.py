"""What a test left behind on the machine: mounts, cgroups, network namespaces, bridges, processes.

Tests run side by side, so each has a word of its own (its directory's name), which is in the paths it mounts, in the
environment of the commands it starts, in the mount table of the containers' processes, and in the alias of the bridges.

What nobody's word is in, an empty cgroup that is named after a container's ID, is found where the whole run ends: by then no
test is left whose it could still be.
"""

from __future__ import annotations

import glob
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_SHARED = ("crate", "crate-oci", "crate.slice")
_TESTS = "/var/tmp/crate-tests-*/t-*"
_PATIENCE = 10.0  # seconds: a network namespace and a cgroup go a moment after their last process, or after the answer


LEFT_BEHIND = 9  # the exit code of a run that has left something, whatever else failed in it
RUN = "CRATE_TEST_RUN"  # the environment's: the word of this whole run, eight hexadecimal digits


def new_word() -> str:
    """Return a word for one test, that is nowhere else on the machine. All of a run begin alike."""
    return f"t-{os.environ[RUN][:4]}{os.urandom(4).hex()}"


def _is_of_another_run(path: Path, run: str) -> bool:
    return any(not word.startswith(f"t-{run[:4]}") for word in re.findall("t-[0-9a-f]{12}", str(path)))


_WORD = pytest.StashKey[str]()


def word_of(request: pytest.FixtureRequest) -> str:
    """Return what marks everything one test makes. Not through a fixture: a test's parameter of that name would be taken."""
    return request.node.stash.setdefault(_WORD, new_word())


class Machine:
    """The machine as it was before a test, and what is there now that was not."""

    def __init__(self, word: str) -> None:
        # What has the word in it is ended: a word that is not of `new_word` could be everybody's.
        if not re.fullmatch("t-[0-9a-f]{12}", word):
            raise ValueError(f"not the word of one test: {word!r}")
        self.word = word
        self._begun = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._cgroups = set(crate_cgroups())
        self._netns = set(_crate_netns())

    def leaks(self) -> list[str]:
        """Wait a moment for what goes by itself; return a line for each thing that stays."""
        return _what_stays(self._now)

    def _now(self) -> list[str]:
        found = [f"mount: {line}" for line in _lines("/proc/self/mountinfo") if self.word in line]
        found += [f"cgroup without a process: {path}" for path in set(crate_cgroups()) - self._cgroups if self._is_left(path)]
        found += [f"network namespace: {name}" for name in set(_crate_netns()) - self._netns]
        found += [f"bridge: {name}" for name in bridges_with(self.word)]
        found += [f"process {pid}: {_name(pid)}" for pid in processes_with(self.word)]
        return found

    def _is_left(self, path: Path) -> bool:
        """Say whether nobody is in a cgroup, and it is this test's: named after it, or no test runs beside this one."""
        if not _is_empty(path):
            return False
        if self.word in str(path):
            return True
        return "PYTEST_XDIST_WORKER" not in os.environ and not _has_a_home(path, but=self.word)

    def clean(self) -> None:
        """End the processes and take mounts and bridges away, so that the next test does not suffer.

        Only what this test itself has made: its processes have the word and are younger than the test. An empty cgroup
        has no word, and could be one that a test beside this one has just made: it is told and left.
        """
        for pid in processes_with(self.word):
            self._end(pid)
        for line in reversed(_lines("/proc/self/mountinfo")):
            if self.word in line and os.geteuid() == 0:
                target = line.split()[4].encode().decode("unicode_escape")
                os.spawnlp(os.P_WAIT, "umount", "umount", "-l", target)
        for name in bridges_with(self.word):
            os.spawnlp(os.P_WAIT, "ip", "ip", "link", "delete", name)

    def _end(self, pid: int) -> None:
        try:
            held = os.pidfd_open(pid)
        except OSError:
            return
        try:
            # Held by now, so what is looked at here is what is signalled.
            if _started(pid) >= self._begun - 1 and pid in processes_with(self.word):
                signal.pidfd_send_signal(held, signal.SIGKILL)
        except OSError:
            pass  # it has ended
        finally:
            os.close(held)


class Run:
    """The machine as it was before all tests, and what none of them has taken away: a plugin of pytest, for the process that
    all workers report to. Anything that stays fails the run.

    Another run on this machine, of another checkout, makes cgroups as well. Those of crate-oci have a word of their run; of
    the others, what is empty for longer than any test leaves it and belongs to no container that is written down is nobody's.
    """

    def __init__(self, word: str) -> None:
        self._word = word
        self._scratch = f"crate-tests-{word}-"  # in the name of each worker's directory
        self._cgroups = set(crate_cgroups())
        self._netns = set(_crate_netns())
        self._seen: dict[Path, str] = {}
        self._left: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember at the end of which test a cgroup was first seen: it is that test's, or one's that ran beside it."""
        if report.when == "teardown":
            self._seen |= dict.fromkeys(set(crate_cgroups()) - self._cgroups - self._seen.keys(), report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._left = self.leaks()
        told = {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.TESTS_FAILED}
        if self._left and session.exitstatus in told:
            session.exitstatus = LEFT_BEHIND

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left:
            terminalreporter.section("left behind by the whole run", red=True, bold=True)
            terminalreporter.write_line("\n".join(self._left))
            terminalreporter.write_line("`script/test -n 0 tests/...` runs one test after another: it tells whose a cgroup is")

    def leaks(self) -> list[str]:
        """Wait a moment for what goes by itself; return a line for each thing that stays."""
        return _what_stays(self._now)

    def _now(self) -> list[str]:
        new = [path for path in set(crate_cgroups()) - self._cgroups if not _is_of_another_run(path, self._word)]
        left = [path for path in new if _is_empty(path) and not _has_a_home(path)]
        found = [f"cgroup without a process: {path}, first seen after {self._seen.get(path, 'the last test')}" for path in left]
        found += [f"mount: {line}" for line in _lines("/proc/self/mountinfo") if self._scratch in line]
        found += [f"network namespace: {name}" for name in set(_crate_netns()) - self._netns]
        found += [f"bridge: {name}" for name in bridges_with(self._scratch)]
        found += [f"process {pid}: {_name(pid)}" for pid in processes_with(self._scratch)]
        return sorted(found)


def _what_stays(now: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + _PATIENCE
    while (found := now()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _has_a_home(path: Path, but: str = "") -> bool:
    """Say whether what a cgroup is named after is there: a test by its word, or a container that is written down, in a test's
    store or in one of the machine's own. The test whose word is `but` does not count.
    """
    identity = path.name.removeprefix("crate-")
    patterns = [f"{_TESTS}/{'*/' * depth}containers/{identity}" for depth in range(1, 5)]
    patterns += [f"{directory}/containers/{identity}" for directory in ("/run/crate", "/var/lib/crate")]
    patterns += [str(Path(_TESTS).with_name(word)) for word in re.findall("t-[0-9a-f]{12}", str(path))]
    return any(not but or but not in home for pattern in patterns for home in glob.iglob(pattern))


def _started(pid: int) -> float:
    """Return when a process was started, in seconds since boot (proc(5), stat, field 22). Raises OSError."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def processes_with(word: str) -> Iterator[int]:
    """Yield the processes that have `word` in their arguments, their environment or their mounts; never this one."""
    needle = word.encode()
    ours = os.readlink("/proc/self/ns/mnt")
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            files = ["cmdline", "environ"]
            if os.readlink(f"/proc/{name}/ns/mnt") != ours:
                files.append("mountinfo")
            if any(needle in Path(f"/proc/{name}/{file}").read_bytes() for file in files):
                yield int(name)
        except OSError:
            continue  # gone meanwhile, or another user's


def _name(pid: int) -> str:
    words = []
    _quietly(lambda: words.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")))
    return words[0] if words else "(gone)"


def crate_cgroups() -> list[Path]:
    """Return the cgroups at or below a name with "crate" in it, deepest first; the parent that all share may stay."""
    found = []
    for directory, names, _files in os.walk("/sys/fs/cgroup", topdown=False):
        found += [Path(directory, name) for name in names if "crate" in directory + name and name not in _SHARED]
    return found


def _is_empty(path: Path) -> bool:
    """Say whether no process is in it nor below it: a directory that only holds others is kept by whoever is there."""
    try:
        return not any((Path(directory) / "cgroup.procs").read_text() for directory, _names, _files in os.walk(path))
    except OSError:
        return False


def bridges_with(word: str) -> list[str]:
    """Return the interfaces that have `word` in their alias: that of a bridge says whose network it is (network/bridge.py)."""
    found = []
    for name in os.listdir("/sys/class/net"):
        try:
            if word in Path(f"/sys/class/net/{name}/ifalias").read_text(errors="replace"):
                found.append(name)
        except OSError:
            continue  # gone meanwhile, or a file of the bonding driver's
    return found


def has_table(name: str) -> bool:
    """Say whether there is an nftables table of that name, in the family inet."""
    return subprocess.run(["nft", "list", "table", "inet", name], capture_output=True).returncode == 0


def _crate_netns() -> list[str]:
    try:
        return [name for name in os.listdir("/run/netns") if "crate" in name]
    except FileNotFoundError:
        return []


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="surrogateescape").splitlines()


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        pass
