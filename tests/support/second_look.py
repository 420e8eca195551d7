"""A second look at the few tests that failed in a whole run, by script/test.

Eight thousand tests that race with the kernel and each other show bugs that come once in many runs. Such a one must be found,
and must not hide whether anything else is wrong: what failed is run again, alone and three times. Where it fails again, the run
has failed. Where it passes each time, the run has passed, and its last lines name the test as unstable: its first failure,
printed above in full, is a bug of crate's or of the test. More than three at once are no accident: then nothing is looked at.

    python tests/support/second_look.py CACHE    the `cache_dir` of the run that failed
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MOST = 3  # tests
TIMES = 3


def failed(cache: Path) -> list[str]:
    """Return what failed in the run whose cache that is; one test's ID each, without the group that xdist puts behind it."""
    try:
        found = json.loads((cache / "v/cache/lastfailed").read_text())
    except (OSError, ValueError):
        return []
    return sorted(re.sub(r"@[\w-]+$", "", name) for name in found)


def passes_again(tests: Sequence[str]) -> bool:
    words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--timeout=300", "-p", "no:cacheprovider", *tests]
    return all(subprocess.run(words, check=False).returncode == 0 for _ in range(TIMES))


def main(cache: str) -> int:
    """Return the exit code of the whole: 0 where each test that failed passes again."""
    tests = failed(Path(cache))
    if not 0 < len(tests) <= MOST or not all("::" in name for name in tests):
        return 1
    print(f"script/test: a second look, {TIMES} times, at what failed:", *tests, sep="\n  ", flush=True)
    if not passes_again(tests):
        return 1
    print(f"script/test: UNSTABLE, to be mended: failed once, see above, and then passed {TIMES} times:", *tests, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
