"""The Python library as a programmer uses it, as root and as an ordinary user: one life of a container, told as JSON."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

import pytest

LIFE = """
    import json, os, sys

    import cratebox

    said = {}
    engine = cratebox.Engine()
    volume = engine.volumes.create("data", labels={"of": "tests"})
    mount = cratebox.MountWish(kind="volume", source=volume.name, target="/data")
    limits = dict(limits=cratebox.Limits(pids=100)) if not engine.identity.rootless else {}
    config = cratebox.ContainerConfig(
        image=sys.argv[1], command=("sleep", "100"), name="web", labels={"tier": "front"}, network="none", mounts=(mount,),
        **limits,
    )
    identity = engine.containers.run(config, detach=True)
    said["found"] = [one.id == identity for one in engine.containers.list(filters=["label=tier=front"])]
    said["running"] = engine.containers.status("web").status
    said["exec"] = engine.containers.exec("web", cratebox.ExecConfig(command=("sh", "-c", "exit 7")))
    document = engine.containers.inspect(identity, size=True)
    said["document"] = [document["Name"], document["State"]["Running"], document["SizeRw"]]
    try:
        engine.containers.remove("web")
    except cratebox.Conflict as conflict:
        said["conflict"] = [conflict.message, conflict.exit_code]
    engine.containers.rename("web", "site")
    said["name"] = engine.containers.get(identity).name
    engine.containers.stop("site", timeout=0.1)
    said["ended"] = [engine.containers.status("site").status, engine.containers.wait("site")]
    said["users"] = [one.name for one in engine.volumes.users()["data"]]
    engine.containers.remove("site")
    said["volume"] = [engine.volumes.remove("data"), len(engine.volumes.list())]
    try:
        engine.containers.get("site")
    except cratebox.NotFound as missing:
        said["missing"] = missing.message
    said["left"] = len(engine.containers.list(all=True))
    print(json.dumps(said))
"""


def test_the_life_of_a_container_in_python(box) -> None:
    person, program = box.crate.person, textwrap.dedent(LIFE)
    done = person.run([sys.executable, "-c", program, box.image], env=box.crate.environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "found": [True],
        "running": "running",
        "exec": 7,
        "document": ["/web", True, 0],
        "conflict": ["web is running", 125],
        "name": "site",
        "ended": ["exited", 137],
        "users": ["site"],
        "volume": [True, 0],
        "missing": "no container site",
        "left": 0,
    }


FAILS = """
    import os, shutil, sys

    import cratebox

    def open_files():
        return len(os.listdir("/proc/self/fd"))

    engine = cratebox.Engine()
    engine.secrets.create("word", b"abc")
    words = ["create", "--userns", "auto", "--network", "none", "--secret", "word", sys.argv[1], "true"]
    made = os.spawnv(os.P_WAIT, sys.argv[2], ["crate", *words])
    (container,) = engine.containers.list(all=True)
    shutil.rmtree(engine.paths.root + "/secrets")
    before = None
    for _ in range(3):
        try:
            engine.containers.start(container.id)
        except cratebox.NotFound as missing:
            print(missing.message)
        if before is None:
            before = open_files()  # what is imported by a start may keep something open
    print(made, open_files() - before)
    engine.containers.remove(container.id)
"""


def test_a_start_that_fails_leaves_nothing_open(root_box, granted) -> None:
    """Mounts are made for it before its secret is missed."""
    program = textwrap.dedent(FAILS)
    argv = [*granted.prefix, sys.executable, "-c", program, root_box.image, str(granted.executable)]
    done = root_box.crate.person.run(argv, env=granted.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["no secret word"] * 3 + ["0 0"]


@pytest.mark.parametrize(
    "name",
    [
        "Engine",
        "ContainerConfig",
        "Limits",
        "ExecConfig",
        "ContainerStatus",
        "Volume",
        "NotFound",
        "locate",
        "CommitConfig",
        "ImportConfig",
        "ManifestDetails",
    ],
)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    import cratebox

    found: Any = getattr(cratebox, name)
    assert name in dir(cratebox)
    assert found.__doc__


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    import cratebox

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cratebox.nothing  # noqa: B018
