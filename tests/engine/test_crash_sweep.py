"""kill -9 of each process of a command before each of its system calls: nobody is told a lie, the next command succeeds, and
one `crate system prune` takes away what is left.

Every moment is tried with CRATE_TEST_SWEEP=all, which takes hours; else some of each process's, evenly spread, another choice
each time. A failure names the moment: CRATE_TEST_SWEEP=client/1:42 tries that one alone.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import leaks, tun

STEPPING = Path(__file__).parents[1] / "support/stepping.py"
CHOSEN = os.environ.get("CRATE_TEST_SWEEP", "")
MOMENTS = 2  # of each process, in a run that does not try them all
SETTLED = 10.0  # seconds: what others of the container's processes have to do until all is as it is told

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or find_library("seccomp") is None,
    reason="needs root, to step through programs, and libseccomp, for the names of calls",
)


@dataclass
class Sweep:
    """A crate whose commands are killed. `word` is in all that its containers are."""

    box: object
    word: str
    around: tuple[str, ...] = ()  # a program that runs the stepped one
    archive: Path = Path(os.devnull)  # what its commands have for standard input

    def crate(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.box.crate(*words)  # type: ignore[attr-defined,no-any-return]

    def stepped(self, what: str, words: tuple[str, ...]) -> dict[str, object]:
        """Run a command under stepping.py and return what that tells."""
        crate = self.box.crate  # type: ignore[attr-defined]
        person = crate.person
        environment = person.environment(crate.environment)
        environment |= {"STEPPING_AS": f"{person.uid}:{person.gid}", "STEPPING_INPUT": str(self.archive)}
        argv = [*self.around, sys.executable, str(STEPPING), what, "--", *crate.argv(*words)]
        done = subprocess.run(argv, env=environment, cwd=person.home, capture_output=True, text=True, timeout=120, check=True)
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def moments(self, words: tuple[str, ...]) -> Iterator[str]:
        """Count the calls of a command, and yield those before which its processes are to be killed."""
        if ":" in CHOSEN:
            yield CHOSEN
            return
        told = self.stepped("COUNT", words)
        assert told["status"] == 0, told["said"]
        for process, count in told["calls"].items():  # type: ignore[attr-defined]
            if process.count("/") > _DEEPEST:
                continue
            stride = 1 if CHOSEN == "all" else max(1, count // MOMENTS)
            yield from (f"{process}:{number}" for number in range(random.randrange(stride) + 1, count + 1, stride))

    def listed(self) -> list[str]:
        listed = self.crate("ps", "-aq", "--no-trunc")
        assert listed.returncode == 0, listed.stderr
        return listed.stdout.split()

    def containers(self) -> list[dict[str, object]]:
        ids = self.listed()
        if not ids:
            return []
        shown = self.crate("inspect", *ids)
        return json.loads(shown.stdout) if shown.returncode == 0 else self.containers()

    def lies(self) -> list[str]:
        """Return what is told of containers and is not so."""
        found = []
        for one in self.containers():
            state, identity = one["State"], str(one["Id"])
            pids = list(leaks.processes_with(identity))
            if state["Status"] in {"running", "paused"} and not os.path.exists(f"/proc/{state['Pid']}"):  # type: ignore[index]
                found.append(f"{identity[:12]} is told to run")
            if state["Status"] in {"created", "exited", "dead"} and pids:  # type: ignore[index]
                found.append(f"{identity[:12]} is told to be {state['Status']}, and {pids} run")  # type: ignore[index]
        return found

    def left(self, listed: list[str]) -> list[str]:
        """Return what is on the machine, beside the store's images, of containers that are none any more."""
        crate = self.box.crate  # type: ignore[attr-defined]
        found = [str(path) for place in (crate.root / "containers", crate.state / "containers") if place.exists()
                 for path in place.iterdir() if path.name not in listed]  # fmt: skip
        names = crate.root / "names"
        found += [str(path) for path in names.iterdir() if os.readlink(path) not in listed] if names.exists() else []
        found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if self.word in line]
        ours = self.seen
        found += [str(path) for path in leaks.crate_cgroups() if any(one in path.name for one in ours - {*listed})]
        found += [f"process {pid}" for one in ours - {*listed} for pid in leaks.processes_with(one)]
        return found

    def __post_init__(self) -> None:
        self.seen: set[str] = set()

    def note(self) -> None:
        """Remember the containers that there are, whole or not, to look for their traces later."""
        crate = self.box.crate  # type: ignore[attr-defined]
        for place in (crate.root / "containers", crate.state / "containers"):
            if place.exists():
                self.seen |= {path.name.rpartition("-")[2] for path in place.iterdir()}


def settled(tell: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + SETTLED
    while (found := tell()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


SLEEPER = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")  # it makes no calls while it waits
_DEEPEST = 3  # command, guardian, supervisor, first process: below are the container's own
# What is there before, and the command.
CASES = {
    "create": ((), ("create", "--name", "web", "@", "true")),
    "run": ((), ("run", "--name", "web", "@", "true")),
    "run --rm": ((), ("run", "--rm", "--name", "web", "@", "true")),
    "run -d": ((), ("run", "-d", "--name", "web", "@", *SLEEPER)),
    "start": (("create", "--name", "web", "@", "true"), ("start", "-a", "web")),
    "exec": (("run", "-d", "--name", "web", "@", *SLEEPER), ("exec", "web", "true")),
    "stop": (("run", "-d", "--name", "web", "@", *SLEEPER), ("stop", "web")),
    "restart": (("run", "-d", "--name", "web", "@", *SLEEPER), ("restart", "web")),
    "rm": (("create", "--name", "web", "@", "true"), ("rm", "web")),
    "rm -f": (("run", "-d", "--name", "web", "@", *SLEEPER), ("rm", "-f", "web")),
    "rename": (("create", "--name", "web", "@", "true"), ("rename", "web", "other")),
    "update": (("create", "--name", "web", "@", "true"), ("update", "--restart", "always", "web")),
    "commit": (("create", "--name", "web", "@", "true"), ("commit", "web", "made")),
    "pull": ((), ("pull", "-q", "LAYOUT")),
    "load": ((), ("load", "-q", "-i", "ARCHIVE")),
    "load -": ((), ("load", "-q")),
    "import": ((), ("import", "ARCHIVE", "made")),
    "save": ((), ("save", "-o", "saved.tar", "base")),
    "save --format oci-dir": ((), ("save", "--format", "oci-dir", "-o", "saved", "base")),
    "run -v": ((), ("run", "--name", "web", "-v", "data:/etc", "-v", "/anonymous", "@", "true")),
    "run --rm -v": ((), ("run", "--rm", "--name", "web", "-v", "/etc", "@", "true")),
    "rm -v": (("create", "--name", "web", "-v", "/anonymous", "@", "true"), ("rm", "-v", "web")),
    "run --network": ((), ("run", "--rm", "--name", "web", "--network", "bridge", "-p", "127.0.0.1::80", "@", "true")),
    "run -d --network": ((), ("run", "-d", "--name", "web", "--network", "bridge", "-p", "127.0.0.1::80", "@", *SLEEPER)),
    "volume create": ((), ("volume", "create", "--label", "a=b", "data")),
    "volume rm": (("volume", "create", "data"), ("volume", "rm", "data")),
}


@pytest.fixture
def sweep(box, word: str) -> Sweep:  # type: ignore[no-untyped-def]
    """An image without a name would go with the first prune."""
    box.create("--name", "base", "@", "true")
    box.crate.ok("commit", "base", "base")
    box.crate.ok("rm", "base")
    return Sweep(box, word)


@pytest.mark.parametrize("case", CASES)
def test_whoever_is_killed_at_whatever_call_leaves_nothing_and_hinders_nobody(sweep: Sweep, case: str, busybox_image) -> None:  # type: ignore[no-untyped-def]
    before, command = (tuple(_filled(sweep, words, busybox_image)) for words in CASES[case])
    if case == "load -":
        sweep.archive = archive_of(busybox_image)
    moments: list[str] | None = None
    tried, keeps = 0, case in {"run -v", "rm -v"}
    crate = sweep.box.crate  # type: ignore[attr-defined]
    if "--network" in case and not crate.person.is_root:
        if reason := tun.why_not() or (None if shutil.which("pasta") or shutil.which("slirp4netns") else "no pasta"):
            pytest.skip(reason)
        sweep.around = tun.around(crate.directory.parent)
    while moments is None or moments:
        _prepare(sweep, before)
        if moments is None:
            moments = list(sweep.moments(command))
            _clear(sweep, "the count", keeps)
            _clear_images(sweep, "the count")
            _clear_volumes(sweep, "the count")
            continue
        moment = moments.pop(0)
        told = sweep.stepped(moment, command)
        what = f"crate {case}, CRATE_TEST_SWEEP={moment}: killed {told['killed']}, it said {told['said']!r}"
        assert told["status"] is not None, f"{what}: it did not end"
        assert "Traceback" not in str(told["said"]), what
        assert "internal error" not in str(told["said"]), what
        sweep.note()
        assert settled(sweep.lies) == [], what
        _clear(sweep, what, keeps)
        if case in {"commit", "pull", "import"} or "load" in case:
            _clear_images(sweep, what)
        if case.partition(" ")[0] in {"load", "import", "save"}:
            _clear_archives(sweep, what, case, busybox_image)
        if "-v" in case or "volume" in case:
            _clear_volumes(sweep, what)
        if "--network" in case:
            _clear_networks(sweep, what)
        tried += told["killed"] is not None
    assert tried


def _filled(sweep: Sweep, words: tuple[str, ...], busybox) -> Iterator[str]:  # type: ignore[no-untyped-def]
    filled = {"@": "base", "LAYOUT": str(busybox), "ARCHIVE": str(archive_of(busybox))}
    for word in words:
        yield filled.get(word, word)


def archive_of(busybox) -> Path:  # type: ignore[no-untyped-def]
    return Path(busybox.docker_archive.partition(":")[2])


def _prepare(sweep: Sweep, words: tuple[str, ...]) -> None:
    if words:
        done = sweep.crate(*words)
        assert done.returncode == 0, done.stderr


def _clear(sweep: Sweep, what: str, keeps: bool = False) -> None:
    """Prune, after which nothing is left but what is seen; remove that, and images but the one that is begun with. A container
    that is pruned `keeps` its volumes without a name, unless these are meant as well.
    """
    pruned = sweep.crate("system", "prune", "-f", *(("--volumes",) if keeps and sweep.listed() else ()))
    assert pruned.returncode == 0, f"{what}: prune said {pruned.stderr}"
    listed = sweep.listed()
    assert settled(lambda: sweep.left(listed)) == [], what
    if listed:
        removed = sweep.crate("rm", "-f", "-v", *listed)
        assert removed.returncode == 0, f"{what}: rm said {removed.stderr}"
    assert settled(lambda: sweep.left([])) == [], what
    sweep.seen.clear()  # each is looked for in every process: with all that ever were, the sweep would take ever longer


def _clear_volumes(sweep: Sweep, what: str) -> None:
    """What has no name went with its container. What was filled by halves is filled further, and nothing is half made."""
    listed = sweep.crate("volume", "ls", "-q")
    assert listed.stdout.split() in ([], ["data"]), what
    directory = sweep.box.crate.root / "volumes"  # type: ignore[attr-defined]
    assert not directory.exists() or [path.name for path in directory.iterdir() if path.name[0] == "."] == [], what
    whole = sweep.crate("run", "--rm", "-v", "data:/etc", "base", "cat", "/etc/group", "/etc/passwd")
    assert whole.stdout == sweep.crate("run", "--rm", "base", "cat", "/etc/group", "/etc/passwd").stdout, what
    assert not (directory / "data/filling").exists(), what
    removed = sweep.crate("volume", "rm", "data")
    assert removed.returncode == 0, f"{what}: volume rm said {removed.stderr}"


def _clear_networks(sweep: Sweep, what: str) -> None:
    """The next command on the network takes away what is left there: leases, and of a user his namespace and ways outside."""
    crate = sweep.box.crate  # type: ignore[attr-defined]
    person = crate.person
    open_to_him = crate if person.is_root else crate.within(tun.prefix(crate.directory.parent, person.uid, person.gid))
    next_one = open_to_him("run", "--rm", "--network", "bridge", "base", "true")
    assert next_one.returncode == 0, f"{what}: the next one said {next_one.stderr}"
    place = crate.state / "networks"
    assert "reservation" not in (place / "leases").read_text(), what
    assert not list((place / "outside").glob("*")), what
    assert settled(lambda: [f"process {pid}" for pid in leaks.processes_with(f"crate-networks {crate.state}")]) == [], what


def _clear_images(sweep: Sweep, what: str) -> None:
    images = sweep.crate("images", "--format", "{{.Repository}}").stdout.split()
    assert "base" in images, what
    if "made" in images:
        removed = sweep.crate("rmi", "-f", "made")
        assert removed.returncode == 0, f"{what}: rmi said {removed.stderr}"


def _clear_archives(sweep: Sweep, what: str, case: str, busybox) -> None:  # type: ignore[no-untyped-def]
    """Of a load and an import there is all or nothing, and the next one succeeds; of a save the file is whole or not there."""
    crate = sweep.box.crate  # type: ignore[attr-defined]
    home, archive = crate.person.home, archive_of(busybox)
    for saved in (home / "saved.tar", home / "saved"):
        if saved.exists():
            loaded = sweep.crate("load", "-q", "-i", str(saved))
            assert loaded.stdout == "Loaded image: base:latest\n", f"{what}: {loaded.stderr}"
            shutil.rmtree(saved) if saved.is_dir() else saved.unlink()
    for half in home.glob("saved*.new"):
        assert case.startswith("save"), what
        shutil.rmtree(half) if half.is_dir() else half.unlink()
    again = sweep.crate("import", str(archive), "made") if case == "import" else sweep.crate("load", "-q", "-i", str(archive))
    assert again.returncode == 0, f"{what}: the next one said {again.stderr}"
    name = "made" if case == "import" else f"{busybox.name}:latest"
    if case != "import":
        assert sweep.crate("run", "--rm", "--network", "none", name, "echo", "x").stdout == "x\n", what
    removed = sweep.crate("rmi", "-f", name)
    assert removed.returncode == 0, f"{what}: rmi said {removed.stderr}"
    assert sweep.crate("system", "prune", "-f").returncode == 0, what
    store = crate.root / "images"
    assert list((store / "blobs/.partial").iterdir()) == [], what
    assert [path.name for path in (store / "layers").iterdir() if path.name[0] == "."] == [], what
    assert sweep.crate("images", "--format", "{{.Repository}}").stdout == "base\n", what
    # Without the trees: what is there is a copy (ready.stock), in which hard links are files of their own.
    assert sweep.crate("system", "check", "--quick").stdout == "nothing is damaged\n", what
