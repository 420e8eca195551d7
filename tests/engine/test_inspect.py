"""crate inspect: Docker's document of real containers and images."""

from __future__ import annotations

import json
import re

import pytest


def look(box, name: str, form: str) -> str:
    return box.crate.ok("inspect", "-f", form, name)


def test_a_container_is_told_with_dockers_names(box) -> None:
    identity = box.create(
        "--name", "web", "--label", "b=2", "--label", "a=1", "-e", "A=b", "-w", "/tmp", "-u", "1:2", "--stop-timeout", "3",
        "--stop-signal", "INT", "--read-only", "--cap-add", "SYS_TIME", "--cap-drop", "CHOWN", "--security-opt",
        "no-new-privileges", "-v", "/etc:/mnt:ro", "--tmpfs", "/run", "--network", "none", "@", "sh", "-c", "exit 3",
    )  # fmt: skip
    (document,) = box.crate.json("inspect", "web")
    assert document["Id"] == identity
    assert (document["Path"], document["Args"], document["Name"]) == ("sh", ["-c", "exit 3"], "/web")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", document["Created"])
    state = document["State"]
    assert (state["Status"], state["Running"], state["ExitCode"], state["Pid"]) == ("created", False, 0, 0)
    assert state["StartedAt"] == state["FinishedAt"] == "0001-01-01T00:00:00Z"
    config = document["Config"]
    assert config["Cmd"] == ["sh", "-c", "exit 3"]
    assert (config["Entrypoint"], config["User"], config["WorkingDir"]) == (None, "1:2", "/tmp")
    assert list(config["Labels"].items()) == [("a", "1"), ("b", "2")]
    assert "A=b" in config["Env"]
    assert (config["StopSignal"], config["StopTimeout"]) == ("INT", 3) or config["StopSignal"] == "SIGINT"
    host = document["HostConfig"]
    assert host["Binds"] == ["/etc:/mnt:ro"]
    assert list(host["Tmpfs"]) == ["/run"]
    assert (host["ReadonlyRootfs"], host["NetworkMode"], host["SecurityOpt"]) == (True, "none", ["no-new-privileges"])
    assert (host["CapAdd"], host["CapDrop"]) == (["CAP_SYS_TIME"], ["CAP_CHOWN"])
    assert [(one["Type"], one["Destination"], one["RW"]) for one in document["Mounts"]] == [("bind", "/mnt", False)]
    assert document["NetworkSettings"]["Networks"].keys() == {"none"}


def test_the_state_follows_the_container(box) -> None:
    box.crate.ok("run", "-d", "--name", "web", box.image, "sleep", "100")
    form = "{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{gt .State.Pid 0}} {{.State.ExitCode}}"
    assert look(box, "web", form) == "running true false true 0"
    box.crate.ok("kill", "web")
    box.crate.ok("wait", "web")
    assert look(box, "web", form) == "exited false false false 137"
    assert look(box, "web", "{{ne .State.FinishedAt `0001-01-01T00:00:00Z`}}") == "true"


def test_templates_that_scripts_use(box) -> None:
    box.create("--name", "web", "--label", "com.example.tier=front", "-v", "/etc:/mnt", "-e", "A=b", "@", "true")
    for form, expected in {
        "{{.Name}}": "/web",
        '{{index .Config.Labels "com.example.tier"}}': "front",
        '{{index .Config.Labels "nothing"}}': "",
        "{{range .Mounts}}{{.Source}}:{{.Destination}}{{end}}": "/etc:/mnt",
        '{{range .Config.Env}}{{if eq . "A=b"}}found{{end}}{{end}}': "found",
        "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}": "none",
        "{{json .Config.Cmd}}": '["true"]',
        "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}}{{end}}": "host=",
        "{{.HostConfig.RestartPolicy.Name}}": "no",
        "{{len .Mounts}} {{.State.Running | printf `%v`}}": "1 false",
    }.items():
        assert look(box, "web", form) == expected, form


def test_missing_names_are_told_and_the_others_shown(box) -> None:
    identity = box.create("--name", "web", "@", "true")
    done = box.crate("inspect", "web", "nobody")
    assert done.returncode == 1
    assert [one["Id"] for one in json.loads(done.stdout)] == [identity]
    assert "there is no container, image, network, volume or secret nobody" in done.stderr
    done = box.crate("inspect", "nobody")
    assert (done.stdout, done.returncode) == ("[]\n", 1)
    assert "no container" in box.crate.fails("inspect", "--type", "container", box.image, code=1)
    assert "image web: not in the store" in box.crate.fails("inspect", "--type", "image", "web", code=1)


def test_a_name_is_that_of_a_container_an_image_a_network_a_volume_or_a_secret_in_that_order(box) -> None:
    def found(*words: str) -> str:
        (document,) = box.crate.json("inspect", *words)
        return next(key for key in ("HostConfig", "RootFS", "IPAM", "Mountpoint", "Spec") if key in document)

    box.crate.ok("secret", "create", "Web", "-", input="it is one")
    assert found("Web") == found("--type", "secret", "Web") == "Spec"
    assert "it is one" not in box.crate.ok("inspect", "Web")
    box.crate.ok("volume", "create", "Web")
    assert found("Web") == "Mountpoint"
    assert found("none") == found("--type", "network", "none") == "IPAM"
    assert box.crate.json("inspect", "none") == box.crate.json("network", "inspect", "none")
    box.create("--name", "Web", "@", "true")
    assert found("Web") == "HostConfig"
    assert [found("--type", kind, "Web") for kind in ("volume", "secret")] == ["Mountpoint", "Spec"]
    assert "no network Web" in box.crate.fails("inspect", "--type", "network", "Web", code=1)
    assert "image 'Web'" in box.crate.fails("inspect", "--type", "image", "Web", code=1)


def test_a_damaged_network_is_not_in_the_way_of_what_is_not_one(box) -> None:
    box.crate.ok("volume", "create", "data")
    networks = box.crate.root / "networks"
    networks.mkdir(exist_ok=True)
    (networks / "front.json").write_text("{")
    try:
        assert box.crate.json("inspect", "data")[0]["Name"] == "data"
        assert "damaged" in box.crate.fails("inspect", "nobody", code=125)
    finally:
        (networks / "front.json").unlink()


def test_a_field_that_is_not_there_is_one_line(box) -> None:
    box.create("--name", "web", "@", "true")
    said = box.crate.fails("inspect", "-f", "{{.State.Nope}}", "web")
    first = (
        'crate inspect: template parsing error: template: :1:8: executing "" at <.State.Nope>: map has no entry for key "Nope"'
    )
    assert said.splitlines()[0] == first


def test_size_tells_what_was_written(box) -> None:
    box.crate.ok("run", "--name", "web", box.image, "dd", "if=/dev/zero", "of=/big", "bs=1000", "count=100")
    written, whole = box.crate.ok("inspect", "--size", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "web").split()
    assert (int(written), int(whole) > 100_000) == (100_000, True)
    with pytest.raises(AssertionError, match="SizeRw"):
        look(box, "web", "{{.SizeRw}}")


def test_an_image_is_told_with_dockers_names(box) -> None:
    (document,) = box.crate.json("inspect", "--type", "image", box.image)
    assert document["Id"] == "sha256:" + box.image
    assert document["RootFS"]["Type"] == "layers"
    assert document["Config"]["Cmd"] == ["sh"]
    assert (document["Os"], document["Size"] > 0) == ("linux", True)
