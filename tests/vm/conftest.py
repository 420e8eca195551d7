"""The machine: started once, for all tests that ask how it went in there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chosen import CHOSEN

from support import emulator, machine
from support.bundles import oci, root_oci, rootfs_template  # noqa: F401
from support.debian import CACHE, CannotBuild
from support.emulator import Part, Results

# They are for the inside: there, or where a developer's own machine is like that.
HAS_ALL = Path("/run/systemd/system").is_dir() and Path("/sys/fs/cgroup/cgroup.controllers").exists()
INSIDE = ("inside", "scopes", "callers", "daemons", "fresh", "units")
collect_ignore = [] if HAS_ALL else [f"test_{name}.py" for name in INSIDE]
SECONDS = 2700  # for all in the machine, from power-on to power-off; a third of it where the host is not busy


@pytest.fixture(scope="session")
def results(scratch: Path) -> Iterator[Results]:
    """What the tests said that ran in the machine."""
    if reason := machine.why_not():
        pytest.skip(reason)
    try:
        files = machine.machine_files()
        parts = [Part(person, chosen, SECONDS - 200) for person, chosen in CHOSEN.items()]
        directory = scratch / "machine"
        # One at a time on this host: two would be slower than their timeouts.
        with open(CACHE / "machine-runs.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = emulator.run(files, parts, directory, SECONDS)
    except CannotBuild as error:
        pytest.fail(f"cannot make the virtual machine: {error}", pytrace=False)
    yield found
    if keep := os.environ.get("CRATE_TEST_KEEP"):
        shutil.copytree(directory, keep, dirs_exist_ok=True)
