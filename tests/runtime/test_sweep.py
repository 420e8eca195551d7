"""kill -9 before each system call of `crate-oci create`, after which one `delete --force` takes away whatever is left, and of
what `crate-oci exec` makes on its way into a container, after which it says so and ends.

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
    bundle = oci.bundle("/bin/sleep", "900")
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


def test_an_exec_ends_where_its_way_into_the_container_is_killed(oci):
    """The first child joins the container and makes the process, of which it then tells: nobody waits for its word for ever."""
    name = oci.create(oci.bundle("/bin/sleep", "600"))
    oci.ok("start", name)
    told = stepped(oci, "COUNT", "exec", name, "true")
    assert told["status"] == 0, told["said"]
    count, ends = told["calls"]["client/1"], set()
    for moment in range(1, count + 1):
        told = stepped(oci, f"client/1:{moment}", "exec", name, "true")
        what = f"client/1:{moment}, killed {told['killed']}, it said {told['said']}"
        assert told["status"] is not None, f"{what}: it did not end"
        code = os.waitstatus_to_exitcode(told["status"])
        assert code == 0 or "died on its way" in told["said"], what
        ends.add(code)
    assert ends >= {1} or ends >= {255}
    oci.ok("exec", name, "true")
    oci.ok("delete", "--force", name)


def stepped(oci, moment: str, *words: str | Path) -> dict:
    """Run a command under stepping.py and return what that tells."""
    environment = {**os.environ, **oci.person.environment(), "STEPPING_AS": f"{oci.person.uid}:{oci.person.gid}"}
    argv = [sys.executable, str(STEPPING), moment, "--", *oci.argv(*words)]
    return json.loads(subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout)
