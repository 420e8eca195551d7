"""What `crate run` imports before it begins: a count is stable where a time is not."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src"
FORBIDDEN = {
    "argparse", "asyncio", "contextlib", "ctypes", "dataclasses", "datetime", "difflib", "enum", "functools", "hashlib", "http",
    "inspect", "json", "logging", "pathlib", "re", "rich", "selectors", "shutil", "signal", "socket", "ssl", "subprocess",
    "tempfile", "textwrap", "threading", "typing", "urllib", "urllib3",
}  # fmt: skip
OF_THE_COMMAND_LINE = frozenset(
    {"cratebox.cli", "cratebox.cli.main", "cratebox.cli.options", "cratebox.cli.commands", "cratebox.cli.commands.create"}
)


def _loaded(statements: str) -> set[str]:
    """Return the names in sys.modules of a fresh, bare interpreter after `statements`."""
    program = f"import sys; sys.path.append({str(SOURCE)!r})\n{statements}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


READ_THE_WORDS = """
from cratebox.cli import main, options
from cratebox.cli.commands import {verb} as verb
words = options.parse(verb.COMMAND, {argv!r})
{then}
"""
FLAGS = ["--rm", "-e", "A=1", "-v", "/a:/b:ro", "--mount", "type=bind,source=/a,target=/c", "--tmpfs", "/run:size=1m",
         "--ulimit", "nofile=10", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--label", "a=b", "--name", "web",
         "--hostname", "box", "--network", "none", "--stop-signal", "TERM", "alpine", "true"]  # fmt: skip


def _words_of(verb: str) -> set[str]:
    argv = FLAGS if verb in {"run", "create"} else ["web"]
    then = "verb.config_from(words)" if verb in {"run", "create"} else ""
    return _loaded(READ_THE_WORDS.format(verb=verb, argv=argv, then=then))


@pytest.mark.parametrize("verb", ["run", "create", "start"])
def test_reading_a_command_line_imports_nothing_slow(verb: str) -> None:
    assert not _words_of(verb) & FORBIDDEN


@pytest.mark.parametrize("verb", ["run", "create", "start"])
def test_a_command_imports_no_other_part_of_the_command_line(verb: str) -> None:
    mine = {name for name in _words_of(verb) if name.startswith("cratebox.cli")}
    assert mine <= OF_THE_COMMAND_LINE | {f"cratebox.cli.commands.{verb}"}


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete"])
def test_the_runtimes_command_line_imports_nothing_slow(verb: str) -> None:
    argv = [verb, "box"]
    statements = f"from cratebox.cli import oci, options\noptions.parse(oci.GLOBAL, {argv!r})\noptions.parse(oci._command({verb!r}), ['box'])"
    assert not _loaded(statements) & FORBIDDEN


def test_the_engine_that_run_starts_imports_nothing_slow() -> None:
    if not (SOURCE / "cratebox/engine/engine.py").exists():
        pytest.skip("there is no engine yet")
    assert not _loaded("import cratebox.cli.commands.run\nimport cratebox.engine.engine") & FORBIDDEN
