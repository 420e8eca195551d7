"""What crate shows, beside what Docker shows of a container that was asked for with the same words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.commands import Crate
from support.engines import Docker
from support.ready import Ready

pytestmark = pytest.mark.xdist_group("docker")
ENGINE = "docker"
FLAGS = (
    "--label", "tier=front", "--label", "com.example.a=b", "-e", "A=b", "-w", "/tmp", "-u", "1:2", "--network", "none", "-v",
    "/etc:/mnt:ro", "--tmpfs", "/run", "--read-only", "--cap-add", "SYS_TIME", "--cap-drop", "CHOWN",
    "--security-opt", "no-new-privileges", "--memory", "64m", "--cpus", "1.5", "--ulimit", "nofile=100:200",
    "--stop-timeout", "3", "--stop-signal", "INT", "--hostname", "box",
)  # fmt: skip
# What is otherwise, and why.
OTHERWISE = {
    "HostConfig.KernelMemory": "Docker has given it up",
    "HostConfig.KernelMemoryTCP": "Docker has given it up",
    "NetworkSettings": "docker's network `none` has an endpoint",
    "GraphDriver": "where Docker keeps its layers is its own",
}


@pytest.fixture(scope="module")
def theirs(docker: Docker, image: str) -> Iterator[str]:
    """A container that Docker has run to its end."""
    name = f"both-{os.urandom(3).hex()}"
    docker("run", "--name", name, *FLAGS, image, "sh", "-c", "exit 3")
    yield name
    docker("rm", "-f", name)


@pytest.fixture
def both(docker: Docker, theirs: str, root_box: Ready) -> tuple[Docker, Crate, str]:
    """Docker and crate, and the name of a container that both have made and run to its end."""
    root_box.crate("run", "--name", theirs, *FLAGS, root_box.image, "sh", "-c", "exit 3")
    return docker, root_box.crate, theirs


def names(value: Any, where: str = "") -> set[str]:
    """Return the names in a document of what is not a map of the user's own keys."""
    if isinstance(value, list) and value:
        return names(value[0], where + "[]")
    if not isinstance(value, dict) or where in (".Config.Labels", ".HostConfig.Tmpfs", ".NetworkSettings.Networks"):
        return {where}
    return {where} | {name for key, one in value.items() for name in names(one, f"{where}.{key}")}


def test_inspect_has_dockers_names(both: tuple[Docker, Crate, str]) -> None:
    docker, crate, name = both
    theirs, ours = docker.json("inspect", name), crate.json("inspect", name)
    missing = {one[1:] for one in names(theirs[0]) - names(ours[0])}
    assert {one for one in missing if one not in OTHERWISE and one.partition(".")[0] not in OTHERWISE} == set()


@pytest.mark.parametrize(
    "form",
    [
        "{{.Name}} {{.Path}} {{.Args}} {{len .Args}}",
        "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}",
        '{{index .Config.Labels "tier"}} {{index .Config.Labels "none"}}|{{.Config.Labels.none}}',
        "{{json .Config.Labels}} {{.Config.Labels}}",
        "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
        "{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}} {{.Propagation}}{{end}}",
        '{{range $i, $a := .Args}}{{if $i}}, {{end}}{{printf "%q" $a}}{{end}}',
        "{{if .State.Health}}{{.State.Health.Status}}{{else}}no health{{end}}",
        "{{if and .State.Running (gt .State.Pid 0)}}up{{else if eq .State.ExitCode 3}}three{{else}}down{{end}}",
        "{{with .Config}}{{.User}} {{.WorkingDir}} {{.StopSignal}} {{.Hostname}}{{end}}",
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.NetworkMode}}",
        "{{json .HostConfig.SecurityOpt}} {{json .HostConfig.Binds}} {{len .HostConfig.Tmpfs}}",
        "{{range .HostConfig.Ulimits}}{{.Name}}={{.Soft}}:{{.Hard}}{{end}}",
        "{{.HostConfig.RestartPolicy.Name}} {{.RestartCount}} {{json .HostConfig.RestartPolicy}}",
        "{{.HostConfig.LogConfig.Type}} {{.HostConfig.AutoRemove}} {{.HostConfig.Privileged}}",
        "{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{.Config.Cmd | len}} {{.Config.Tty | not}}",
        '{{join .Config.Cmd " "}} {{upper .Path}} {{title .Path}} {{split .Name "-" | len}}',
        "{{slice .Name 0 5}}{{- /* gone */ -}}  {{`raw`}} {{ 'a' }} {{1.5}} {{true}}",
        '{{printf "%s|%-6s|%6s|%05d|%v|%x" .Path "a" "b" .State.ExitCode .State.Running 255}}',
        '{{println .Path .State.ExitCode}}{{print .Path .State.ExitCode 1 2 "x" "y"}}',
        '{{eq .Path "a" "sh"}} {{ne .Path "sh"}} {{lt 1 2}} {{ge "b" "a"}} {{or .State.Error "fine"}}',
        "{{$n := .Name}}{{range .Args}}{{$n}}{{.}} {{end}}{{with $x := 3}}{{$x}}{{end}}",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}{{json .NetworkSettings.Ports}}",
        "{{.HostConfig.ShmSize}} {{.HostConfig.OomScoreAdj}} {{.HostConfig.PidMode}}",
        "{{truncate .Path 1}}{{pad .Path 2 2}}|{{json .State.Health}}",
    ],
)  # fmt: skip
def test_a_template_shows_the_same(form: str, both: tuple[Docker, Crate, str]) -> None:
    docker, crate, name = both
    assert crate.ok("inspect", "-f", form, name) == docker.ok("inspect", "-f", form, name)


@pytest.mark.parametrize(
    "form",
    [
        "{{.Nope}}",
        "{{.State.Nope}}",
        "{{.Name .Path}}",
        "{{.Name | 1}}",
        "{{.State.Status.x}}",
        "{{index .Args 9}}",
        "{{.Name",
        "{{if .Name}}",
        "{{end}}",
        "{{nope .Name}}",
        "{{$x}}",
        "{{.Name | .Path}}",
        "{{}}",
        "a\n{{.Nope}}",
        '{{index .Args "a"}}',
        "{{range .Args}}{{.x}}{{end}}",
    ],
)
def test_a_wrong_template_is_told_in_the_same_words(form: str, both: tuple[Docker, Crate, str]) -> None:
    docker, crate, name = both
    theirs, ours = docker("inspect", "-f", form, name), crate("inspect", "-f", form, name)
    assert theirs.returncode != 0
    assert ours.returncode == 125
    wanted = re.sub(r"(?i)^.*?template parsing error: ", "", theirs.stderr.strip().splitlines()[0])
    assert ours.stderr.splitlines()[0].endswith(wanted), (theirs.stderr, ours.stderr)


def test_ps_has_dockers_words(both: tuple[Docker, Crate, str]) -> None:
    docker, crate, name = both
    form = "{{.Names}} {{.Status}} {{.State}} {{.Command}} {{.Networks}} {{.LocalVolumes}} {{.Label `tier`}} {{.Ports}}"
    ours, theirs = (one.ok("ps", "-a", "--filter", f"name={name}", "--format", form) for one in (crate, docker))
    age = re.compile(r"\d+ (seconds?|minutes?)|Less than a second|About a minute")
    assert age.sub("AGE", ours) == age.sub("AGE", theirs)
    ours, theirs = (one.ok("ps", "-a", "--filter", f"name={name}").splitlines()[0].split() for one in (crate, docker))
    assert ours == theirs
