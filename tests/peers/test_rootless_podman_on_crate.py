"""Podman as an ordinary user: it calls crate-oci as the root of its own user namespace."""

from __future__ import annotations

import os

import pytest

from support.engines import RootlessPodman

pytestmark = pytest.mark.xdist_group("podman")
ENGINE = "rootless_podman"


@pytest.mark.parametrize("network", ["none", "host"])
def test_run_has_the_commands_output_and_code(network: str, rootless_podman: RootlessPodman, image: str) -> None:
    done = rootless_podman("run", "--rm", "--network", network, image, "sh", "-c", "id -u; exit 7")
    assert (done.stdout, done.returncode) == ("0\n", 7), done.stderr


def test_exec_with_and_without_a_terminal(rootless_podman: RootlessPodman, box: str) -> None:
    assert rootless_podman.ok("exec", "-u", "1000", box, "id", "-u") == "1000"
    assert rootless_podman.ok("exec", "-t", box, "tty").strip() == "/dev/pts/0"
    assert rootless_podman("exec", box, "sh", "-c", "exit 9").returncode == 9


def test_stop_lets_the_command_end_itself(rootless_podman: RootlessPodman, box: str) -> None:
    rootless_podman.ok("stop", "-t", "10", box)
    assert rootless_podman.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", box) == "exited 3"


def test_its_state_is_the_users_own(rootless_podman: RootlessPodman, box: str) -> None:
    identity = rootless_podman.ok("inspect", "--format", "{{.Id}}", box)
    directory = rootless_podman.environment["XDG_RUNTIME_DIR"]
    if "CRATE_TEST_OCI" not in os.environ:
        assert identity in os.listdir(f"{directory}/crate-oci")


def test_the_users_own_id_can_be_kept(rootless_podman: RootlessPodman, image: str) -> None:
    said = rootless_podman.ok("run", "--rm", "--network", "none", "--userns", "keep-id", image, "id", "-u")
    assert int(said) == os.stat(rootless_podman.environment["HOME"]).st_uid
