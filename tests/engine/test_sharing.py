"""-v SOURCE:TARGET:shared: what a container mounts is seen on the host."""

from __future__ import annotations

MOUNTS = "mount -t tmpfs inner /v/sub && touch /v/sub/made"


def _between(crate, before: str, options: str, image: object) -> tuple[int, str, str]:
    """Run a container in a mount namespace between the machine's and its own."""
    own = f"--root {crate.directory}/root --state {crate.directory}/state"
    allowed = "--network host --cap-add SYS_ADMIN --security-opt seccomp=unconfined"
    script = f"{before}; {crate.executable} {own} run --rm {allowed} -v {options} {image} sh -c '{MOUNTS}'; ls /mnt/sub"
    done = crate.person.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_shared_mount_of_the_container_reaches_the_host(rootful, busybox_image):
    shared = "mount -t tmpfs none /mnt; mount --make-shared /mnt; mkdir /mnt/sub"
    assert _between(rootful, shared, "/mnt:/v:rshared", busybox_image)[1] == "made\n"


def test_any_other_does_not(rootful, busybox_image):
    shared = "mount -t tmpfs none /mnt; mount --make-shared /mnt; mkdir /mnt/sub"
    assert _between(rootful, shared, "/mnt:/v:rslave", busybox_image)[1] == ""


def test_a_source_that_is_not_on_a_shared_mount_is_refused(rootful, busybox_image):
    told = _between(rootful, "mount -t tmpfs none /mnt; mkdir /mnt/sub", "/mnt:/v:shared", busybox_image)[2]
    assert "cannot share /mnt at /v: it is on the mount /mnt, which is not a shared one" in told


def test_an_ordinary_user_is_told_that_it_takes_root(rootless, busybox_image):
    done = rootless("run", "--rm", "--network", "host", "-v", "/:/v:shared", str(busybox_image), "true")
    assert done.returncode == 125
    assert "cannot share / at /v: without root, mounts made in a container do not reach the host" in done.stderr
