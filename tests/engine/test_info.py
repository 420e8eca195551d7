"""crate info and version of a real store, as root and as an ordinary user."""

from __future__ import annotations

import json


def test_info_counts_containers_by_state(box) -> None:
    box.detached("sleep", "100")
    box.create("true")
    document = json.loads(box.crate.ok("info", "-f", "json"))
    counted = [
        document[name] for name in ("Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images")
    ]
    assert counted == [2, 1, 0, 1, 1]
    said = box.crate.ok("info").splitlines()
    assert said[:5] == ["Containers: 2", " Running: 1", " Paused: 0", " Stopped: 1", "Images: 1"]


def test_info_says_where_things_are_and_who_may_what(box) -> None:
    document = json.loads(box.crate.ok("system", "info", "-f", "json"))
    assert document["DockerRootDir"] == document["CrateRootDir"] == str(box.crate.root)
    assert document["Rootless"] == ("name=rootless" in document["SecurityOptions"]) == (not box.crate.person.is_root)
    assert document["DriverStatus"][0][1] not in ("", "unknown")
    assert document["NCPU"] > 0


def test_without_delegation_info_warns_of_each_limit(user_box) -> None:
    document = json.loads(user_box.crate.ok("info", "-f", "json"))
    if document["MemoryLimit"]:
        assert not any("--memory" in text for text in document["Warnings"])
    else:
        assert any("--memory" in text for text in document["Warnings"])
        assert "WARNING: no --memory" in user_box.crate.ok("info")


def test_version_answers_what_scripts_ask_docker(box) -> None:
    forms = ("{{.Server.Version}}", "{{.Client.Version}}", "{{.Version}}")
    assert len({box.crate.ok("version", "-f", form) for form in forms}) == 1
    assert "crate-oci: " in box.crate.ok("version")
