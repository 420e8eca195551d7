"""What engine/host.py finds out about a machine."""

from __future__ import annotations

from pathlib import Path

from cratebox.engine import host


def test_the_heat_of_every_processor_is_hidden(tmp_path: Path) -> None:
    for name in ("cpu0/thermal_throttle", "cpu1/thermal_throttle", "cpu10/thermal_throttle", "cpufreq", "cpuidle"):
        (tmp_path / name).mkdir(parents=True)
    found = host._thermal(str(tmp_path))
    assert found == tuple(f"{tmp_path}/cpu{number}/thermal_throttle" for number in (0, 1, 10))


def test_a_machine_that_tells_no_heat_has_nothing_to_hide(tmp_path: Path) -> None:
    (tmp_path / "cpu0").mkdir()
    assert host._thermal(str(tmp_path)) == ()
