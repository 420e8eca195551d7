"""kill -9 of `crate-oci create` before each of its system calls: one `delete --force` takes away whatever is left.

Every moment is tried with CRATE_TEST_SWEEP=all; else some, evenly spread, another choice each time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

from support import commands

STEPPING = commands.CHECKOUT / "tests/support/stepping.py"
MOMENTS = 12

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or find_library("seccomp") is None,
    reason="needs root, to step through programs, and libseccomp, for the names of calls",
)


def test_a_create_that_is_killed_at_whatever_call_is_deleted_whole(oci, word):
    bundle = oci.bundle("/bin/sleep", "60")
    told = stepped(oci, "COUNT", "create", "--bundle", bundle.directory, oci.name())
    assert told["status"] == 0, told["said"]
    oci.ok("delete", "--force", oci.ids[-1])
    count = told["calls"]["client"]
    stride = 1 if os.environ.get("CRATE_TEST_SWEEP") == "all" else max(1, count // MOMENTS)
    killed = 0
    for moment in range(random.randrange(stride) + 1, count + 1, stride):
        told = stepped(oci, f"client:{moment}", "create", "--bundle", bundle.directory, oci.name())
        name, what = oci.ids[-1], f"client:{moment}, killed {told['killed']}"
        killed += told["killed"] is not None
        done = oci("delete", "--force", name)
        assert (done.returncode, done.stdout) == (0, ""), f"{what}: {done.stderr}"
        assert oci.left() == [], what
        assert [where for where, _names, _files in os.walk("/sys/fs/cgroup") if word in where] == [], what
    assert killed


def stepped(oci, moment: str, *words: str | Path) -> dict:
    """Run a command under stepping.py and return what that tells."""
    environment = {**os.environ, **oci.person.environment(), "STEPPING_AS": f"{oci.person.uid}:{oci.person.gid}"}
    argv = [sys.executable, str(STEPPING), moment, "--", *oci.argv(*words)]
    return json.loads(subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout)
