"""What is let go is kept for what comes next: counted by the pages that the kernel had to find."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

import cratebox

SCRIPT = """
import os, resource, sys
if sys.argv[1] == "kept":
    from cratebox.linux import memory
    memory.keep_freed()
zeros = os.open("/dev/zero", os.O_RDONLY)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [os.read(zeros, 65536) for _ in range(40)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    source = str(Path(cratebox.__file__).parent.parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{SCRIPT}", how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc: another heap")
def test_memory_that_is_let_go_is_not_asked_for_again() -> None:
    usual, kept = faults("usual"), faults("kept")
    assert kept < usual / 3, (usual, kept)  # some kernels find many pages at once
