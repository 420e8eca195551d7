"""A volume is found, or is not there, while others make and remove it; one is damaged that stays without its record."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cratebox import record_file
from cratebox.engine.idmaps import Identity
from cratebox.engine.volumes import Volumes
from cratebox.errors import StorageError
from cratebox.paths import Paths


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(Paths(f"{tmp_path}/root", f"{tmp_path}/run", f"{tmp_path}/config"), Identity())


@pytest.fixture
def after(volumes: Volumes, monkeypatch: pytest.MonkeyPatch):
    """A function that has something done by somebody else just after a record was looked for, the first time and so on."""
    real = record_file.read

    def do(*acts) -> None:
        left = list(acts)

        def read(*words):
            found = real(*words)
            if left:
                left.pop(0)()
            return found

        monkeypatch.setattr(record_file, "read", read)

    return do


def test_one_that_is_made_meanwhile_is_found(volumes: Volumes, after) -> None:
    after(lambda: volumes.ensure("data", {}, {}))
    found = volumes.find("data")
    assert found is not None
    assert found.name == "data"


def test_one_that_comes_and_goes_all_the_time_is_not_called_damaged(volumes: Volumes, after) -> None:
    def new() -> None:
        if os.path.lexists(volumes.place("data")):
            shutil.rmtree(volumes.place("data"))
        Path(volumes.place("data")).mkdir(parents=True)

    after(new, new, new, lambda: shutil.rmtree(volumes.place("data")))
    assert volumes.find("data") is None


def test_one_that_stays_without_its_record_is_damaged(volumes: Volumes) -> None:
    volumes.ensure("data", {}, {})
    Path(volumes.place("data"), "volume.json").unlink()
    with pytest.raises(StorageError, match=r"volume\.json is gone"):
        volumes.find("data")
