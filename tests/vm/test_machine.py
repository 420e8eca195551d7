"""The tests of cgroup v2 and of systemd, in a virtual machine: each file of chosen.py, as root and as the ordinary user."""

from __future__ import annotations

import pytest
from chosen import CHOSEN, EXPECTED_SKIPS

from support.emulator import Results

pytestmark = [pytest.mark.xdist_group("machine"), pytest.mark.timeout(3600)]
CASES = [(person, file) for person, files in CHOSEN.items() for file in files]


@pytest.mark.parametrize(("person", "file"), CASES)
def test_the_tests_pass_on_cgroup_v2_with_systemd(results: Results, person: str, file: str) -> None:
    said = results.of(person, file)
    if not said or any(one.outcome == "failed" for one in said):
        pytest.fail(_story(results, person, file), pytrace=False)
    unexpected = [one for one in said if one.outcome == "skipped" and one.text not in EXPECTED_SKIPS]
    assert not unexpected, "skipped in the machine:\n" + "\n".join(f"{one.test}: {one.text}" for one in unexpected)


@pytest.mark.parametrize("person", CHOSEN)
def test_all_of_the_tests_were_run(results: Results, person: str) -> None:
    how = results.ends.get(person, "not at all")
    assert how in {"0", "1"}, f"{person}'s tests ended: {how}\n{results.output.get(person) or results.console[-4000:]}"


def _story(results: Results, person: str, file: str) -> str:
    failed = [one for one in results.of(person, file) if one.outcome == "failed"]
    if failed:
        return "\n\n".join(f"in the machine, as {person}: {one.test}\n{one.text}" for one in failed)
    told = results.output.get(person) or results.console
    return f"no test of {file} was run as {person} in the machine, which was on for {results.seconds:.0f} s:\n{told[-4000:]}"
