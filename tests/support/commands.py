"""The command under test, with directories of its own, as root or as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

from cratebox.network import firewall, upkeep
from cratebox.network.model import Place
from support import leaks
from support.people import Person

CHECKOUT = Path(__file__).resolve().parents[2]


def command(name: str, scratch: Path) -> Path:
    """Return the installed command `name` beside this interpreter, else one that runs the checkout's source."""
    if chosen := os.environ.get("CRATE_TEST_COMMAND"):
        return Path(chosen).with_name(name)
    installed = Path(sys.executable).with_name(name)
    if installed.exists():
        return installed
    made = scratch / name
    if not made.exists():
        site = f"cratebox-site={sysconfig.get_paths()['purelib']}"
        entry = CHECKOUT / "src/cratebox/_entry.py"
        partial = made.with_suffix(f".{os.getpid()}")
        partial.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S -X '{site}' '{entry}' {name} \"$@\"\n")
        partial.chmod(0o755)
        partial.rename(made)
    return made


def words_of(executable: Path) -> list[str]:
    """Return what the launcher `executable` would execute, up to the command's own arguments: an interpreter, its flags, the
    package's _entry.py (or its compiled form) and the command's name.
    """
    telling = [
        line.replace("exec ", 'printf "%s\\n" ', 1) + "; exit" if line.lstrip().startswith("exec ") else line
        for line in executable.read_text().splitlines()
    ]
    told = subprocess.run(["sh", "-c", "\n".join(telling), str(executable)], capture_output=True, text=True)
    return told.stdout.splitlines()


def package_of(executable: Path) -> Path:
    """Return the directory of the package that the launcher `executable` runs, which need not be the checkout's."""
    directory = Path(words_of(executable)[-2]).parent
    package = directory.parent if directory.name == "__pycache__" else directory
    assert (package / "_entry.py").is_file(), package
    return package.resolve()


@dataclass(frozen=True)
class Crate:
    """`crate` of one person with a store and a state of its own: `crate("run", "--rm", image, "true")`."""

    executable: Path
    person: Person
    directory: Path
    prefix: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def environment(self) -> dict[str, str]:
        # The file of settings is written where the person is made: what goes on behind a pull's back would outlive its test.
        settings = {"CRATE_CONFIG": str(self.directory.parent / "settings.toml")}
        # Most tests are of something else: a bridge for each of their stores takes time, and the ordinary user may have none.
        # What a container is on of which nobody says so is tested in engine/test_networks.py.
        settings["CRATE_NETWORK"] = "host"
        return {"CRATE_ROOT": str(self.root), "CRATE_STATE": str(self.state)} | settings | dict(self.variables)

    def argv(self, *args: str | Path) -> list[str]:
        return [*self.prefix, str(self.executable), *map(str, args)]

    def __call__(
        self, *args: str | Path, env: dict[str, str] | None = None, timeout: float = 120, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run it and return what it said and its exit code, whatever that is."""
        if "input" in options:
            options.setdefault("stdin", None)  # subprocess.run makes a pipe itself
        return self.person_behind_prefix().run(self.argv(*args), env=self.environment | (env or {}), timeout=timeout, **options)

    def ok(self, *args: str | Path, **options: object) -> str:
        """Run it, insist on exit code 0, return its output without the last newline."""
        done = self(*args, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, f"{' '.join(map(str, args))} ended with {done.returncode}: {done.stderr or done.stdout}"
        return done.stdout.removesuffix("\n")

    def fails(self, *args: str | Path, code: int = 125, **options: object) -> str:
        """Run it, insist on this exit code and on a message that is no traceback, return the message."""
        done = self(*args, **options)  # type: ignore[arg-type]
        assert done.returncode == code, f"{' '.join(map(str, args))} ended with {done.returncode}: {done.stderr or done.stdout}"
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr, done.stderr
        return done.stderr

    def json(self, *args: str | Path) -> object:
        return json.loads(self.ok(*args))

    def start(self, *args: str | Path, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen[bytes]:
        """Start it and return the process; the caller ends it."""
        return self.person_behind_prefix().start(self.argv(*args), env=self.environment | (env or {}), **options)

    def within(self, prefix: tuple[str, ...], **variables: str) -> Crate:
        """Return the same crate behind `prefix` (a program that enters namespaces), with more variables."""
        return replace(self, prefix=prefix, variables=(*self.variables, *variables.items()))

    def person_behind_prefix(self) -> Person:
        """Return who starts the command: root, where there is a prefix."""
        # A prefix enters namespaces, which only root may do, and steps down to the person itself.
        return replace(self.person, uid=os.geteuid()) if self.prefix else self.person

    def _has_containers(self) -> bool:
        """Say whether anything lies where containers do: most tests leave none, and need not ask a command."""
        try:
            return any((self.root / "containers").iterdir())
        except FileNotFoundError:
            return False
        except OSError:
            return True  # it is the person's alone

    def remove_everything(self) -> None:
        """End and remove what containers are left, then the directories; files of subordinate ids are root's to delete."""
        if self._has_containers():
            left = self("ps", "-aq", "--no-trunc")
            if left.returncode == 0 and (ids := left.stdout.split()):
                self("rm", "-f", *ids)
        if self.person.is_root:
            take_networks_away(self.root, self.state)
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists() and os.geteuid():
            self.person.run(["unshare", "--user", "--map-auto", "--map-root-user", "rm", "-rf", str(self.directory)])


def take_networks_away(root: Path, state: Path) -> None:
    """Take away bridges and rules of root's crate at that place: nothing else does before a reboot."""
    if (root / "networks").is_dir():
        place = Place(str(root), str(state))
        upkeep.shut_down(place)
        assert not leaks.has_table(firewall.table(place)), "left behind: the rules of networks"


def end(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> int:
    """Signal `process`, wait for it, return its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    return process.wait(30)
