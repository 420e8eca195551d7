"""A plugin of pytest for the virtual machine: `-p support.telling`. It chooses tests, and tells how each ended.

CRATE_TELL_CHOSEN is {file: [function, ...]} as JSON, an empty list for all; it may also be one case, "name[user]".
CRATE_TELL_AS is who runs them: "root" or "user". CRATE_TELL_FD is the descriptor to which a line of JSON is written for
each test; emulator.py reads them, outside of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from support import people

LONGEST = 20_000  # characters of a failure
_WHO = ("crate", "oci")  # fixtures with a case for each kind of person
_told: dict[str, dict[str, object]] = {}
SLOWER = int(os.environ["CRATE_TEST_SLOWER"])  # times: what takes seconds outside
_run = people.Person.run


def _run_patiently(
    who: people.Person, argv: list[str], *, timeout: float = 120, **options: object
) -> subprocess.CompletedProcess[str]:
    return _run(who, argv, timeout=timeout * SLOWER, **options)  # type: ignore[arg-type]


def pytest_configure() -> None:
    people.Person.run = _run_patiently  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen: dict[str, list[str]] = json.loads(os.environ["CRATE_TELL_CHOSEN"])
    left = [item for item in items if _is_chosen(item, chosen)]
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = left
    found = {name for item in left for name in (item.nodeid, _function(item))}
    for file, names in chosen.items():
        for name in names:
            if f"{file}::{name}" not in found:
                _tell(f"{file}::{name}", {"outcome": "failed", "seconds": 0.0, "text": "there is no test of this name"})


def _is_chosen(item: pytest.Item, chosen: dict[str, list[str]]) -> bool:
    names = [f"{item.nodeid.split('::')[0]}::{name}" for name in chosen[item.nodeid.split("::")[0]]]
    return item.nodeid in names or ((not names or _function(item) in names) and _is_for_us(item))


def _function(item: pytest.Item) -> str:
    return item.nodeid.split("[")[0]


def _is_for_us(item: pytest.Item) -> bool:
    """Say whether a test is for who runs this: the other cases would be skipped, or need a session of somebody else."""
    case = getattr(item, "callspec", None)
    who = {str(case.params[name]) for name in _WHO if name in case.params} if case else set()
    return not who or os.environ["CRATE_TELL_AS"] in who


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    seen = _told.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "text": ""})
    seen["seconds"] = round(float(str(seen["seconds"])) + report.duration, 2)
    if report.outcome != "passed" and seen["outcome"] != "failed":
        seen["outcome"] = report.outcome
    if report.failed:
        seen["text"] = f"{seen['text']}\n{report.when}: {report.longreprtext}"[-LONGEST:]
    elif report.skipped and isinstance(report.longrepr, tuple):
        seen["text"] = report.longrepr[2].removeprefix("Skipped: ")
    if report.when == "teardown":
        _tell(report.nodeid, _told.pop(report.nodeid))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _tell(report.nodeid, {"outcome": "failed", "seconds": 0.0, "text": report.longreprtext[-LONGEST:]})


def _tell(test: str, seen: dict[str, object]) -> None:
    data = (json.dumps({"person": os.environ["CRATE_TELL_AS"], "test": test} | seen) + "\n").encode()
    while data:
        data = data[os.write(int(os.environ["CRATE_TELL_FD"]), data) :]
