"""The fixtures of all suites. What they stand on is in tests/support."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import commands, debian, images, leaks, people, tun
from support.commands import Crate
from support.images import Image
from support.registry import Hub, Registry, why_no_hub, why_not

# A shell that runs this in the background ignores SIGINT for it, and so for every program under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ("support.ready",)  # box, root_box, user_box: a crate with an image in its store

CHECKOUT = Path(__file__).resolve().parents[1]
WATCHED = ("startup", "kernel", "runtime", "engine", "cli", "peers", "vm")


def pytest_configure(config: pytest.Config) -> None:
    if os.geteuid() and "XDG_RUNTIME_DIR" not in os.environ:
        # Without a login's own, skopeo looks for passwords in a directory that root may have made for himself.
        os.environ["XDG_RUNTIME_DIR"] = place = tempfile.mkdtemp(prefix="crate-tests-run-")
        config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))
    if not hasattr(config, "workerinput"):
        os.environ[leaks.RUN] = os.urandom(4).hex()  # the workers inherit it
        config.pluginmanager.register(leaks.Run(os.environ[leaks.RUN]), "crate-leaks")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory for this run that ordinary users can reach; pytest's own is root's alone."""
    # Podman makes the name of an image of such a path: there is to be nothing in it that no name may have, as "-_" of tempfile.
    place = Path(f"/var/tmp/crate-tests-{os.environ[leaks.RUN]}-{os.urandom(4).hex()}")
    place.mkdir()
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def word(request: pytest.FixtureRequest) -> str:
    """What marks everything this one test makes on the machine."""
    return leaks.word_of(request)


@pytest.fixture(autouse=True)
def leaked(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that uses the kernel: no mount, cgroup, network namespace or process of it may be left."""
    suite = request.path.relative_to(CHECKOUT / "tests").parts[0]
    if suite not in WATCHED:
        yield
        return
    machine = leaks.Machine(leaks.word_of(request))
    yield
    if found := machine.leaks():
        machine.clean()
        pytest.fail("left behind:\n  " + "\n  ".join(found), pytrace=False)


# --- who runs it -----------------------------------------------------------------------------------------------------


def _crate(scratch: Path, word: str, name: str) -> Iterator[Crate]:
    if reason := people.why_not(name):
        pytest.skip(reason)
    directory = scratch / word
    directory.mkdir(mode=0o755)
    (directory / "settings.toml").write_text('[images]\nsettle = "never"\n')
    person = people.person(name, directory / "home")
    crate = Crate(commands.command("crate", scratch), person, person.directory(directory / "crate"))
    yield crate
    crate.remove_everything()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["root", "user"])
def crate(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Crate]:
    """`crate` with an empty store of its own: once as root, once as an ordinary user."""
    yield from _crate(scratch, leaks.word_of(request), request.param)


@pytest.fixture
def rootful(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Crate]:
    """`crate` as root."""
    yield from _crate(scratch, leaks.word_of(request), "root")


@pytest.fixture
def rootless(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Crate]:
    """`crate` as an ordinary user."""
    yield from _crate(scratch, leaks.word_of(request), "user")


@pytest.fixture
def outward(rootless: Crate) -> Crate:
    """`crate` as an ordinary user whose containers can have a way outside: /dev/net/tun is open to him."""
    if reason := tun.why_not():
        pytest.skip(reason)
    return rootless.within(tun.prefix(rootless.directory.parent, rootless.person.uid, rootless.person.gid))


@pytest.fixture
def person(scratch: Path, word: str) -> people.Person:
    """The ordinary user, with an empty home."""
    if reason := people.why_not("user"):
        pytest.skip(reason)
    (scratch / word).mkdir(mode=0o755, exist_ok=True)
    return people.person("user", scratch / word / "home")


# --- images ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """An image and the places where it lies, readable by everybody; `str()` is what is typed for IMAGE."""

    image: Image
    layout: Path
    name: str

    def __str__(self) -> str:
        return f"oci:{self.layout}:{self.name}"

    @property
    def docker_archive(self) -> str:
        path = self.layout.with_suffix(".docker.tar")
        if not path.exists():
            images.write_docker_archive(path, f"{self.name}:latest", self.image)
        return f"docker-archive:{path}"

    @property
    def oci_archive(self) -> str:
        path = self.layout.with_suffix(".oci.tar")
        if not path.exists():
            images.write_oci_archive(path, {self.name: self.image})
        return f"oci-archive:{path}"


@pytest.fixture(scope="session")
def build(scratch: Path) -> object:
    """A function that lays an Image down and returns it as Built: `build("name", image)`."""

    def lay_down(name: str, image: Image) -> Built:
        layout = scratch / "images" / f"{name}-{os.urandom(3).hex()}"
        return Built(image, images.write_oci_layout(layout, {name: image}), name)

    return lay_down


@pytest.fixture(scope="session")
def busybox_base() -> Image:
    """The plain busybox image, before it is laid down: `busybox_base.changed(User="alice")`."""
    if not images.BUSYBOX.exists():
        pytest.skip("busybox-static is not installed")
    return images.busybox_image()


@pytest.fixture(scope="session")
def busybox_image(build: object, busybox_base: Image) -> Built:
    """busybox: Env PATH, Cmd sh, users root and alice (1000, in staff and wheel)."""
    return build("busybox", busybox_base)  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="session")
def alice_image(build: object, busybox_base: Image) -> Built:
    """busybox whose user is alice, in /home/alice."""
    return build("alice", busybox_base.changed(User="alice", WorkingDir="/home/alice"))  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="session")
def entrypoint_image(build: object, busybox_base: Image) -> Built:
    """busybox with ENTRYPOINT ["echo", "entry"] and CMD ["default"]."""
    return build("entrypoint", busybox_base.changed(Entrypoint=["echo", "entry"], Cmd=["default"]))  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="session")
def no_command_image(build: object, busybox_base: Image) -> Built:
    """busybox with neither ENTRYPOINT nor CMD."""
    return build("bare", busybox_base.changed(Cmd=None))  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="session")
def alpine_base() -> Image:
    """The real alpine, before it is laid down: from an Alpine root file system beside the checkout, or CRATE_TEST_ALPINE."""
    found = images.find_alpine()
    if not found:
        pytest.skip("no Alpine root file system beside the checkout: set CRATE_TEST_ALPINE to an alpine-minirootfs-*.tar.gz")
    return images.alpine_image(found)


@pytest.fixture(scope="session")
def alpine_image(build: object, alpine_base: Image) -> Built:
    """The real alpine."""
    return build("alpine", alpine_base)  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="session")
def debian_base() -> Image:
    """A real Debian (minbase), before it is laid down; the first time on a machine it takes half a minute."""
    try:
        return debian.debian_image()
    except debian.CannotBuild as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def debian_image(build: object, debian_base: Image) -> Built:
    """A real Debian (minbase)."""
    return build("debian", debian_base)  # type: ignore[operator, no-any-return]


# --- registries ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def registry(scratch: Path) -> Iterator[Registry]:
    """docker-registry without TLS and without authentication, on loopback."""
    if reason := why_not():
        pytest.skip(reason)
    with Registry(scratch / "registry") as running:
        yield running


@pytest.fixture(scope="session")
def hub(scratch: Path) -> Iterator[Hub]:
    """Docker Hub in small, in namespaces of its own: `at_hub(crate).ok("pull", "alpine")`."""
    if reason := why_no_hub():
        pytest.skip(reason)
    with Hub(scratch / "hub") as running:
        yield running


@pytest.fixture
def at_hub(hub: Hub) -> object:
    """A function that returns a crate which sees the hub under Docker Hub's names."""

    def move(crate: Crate) -> Crate:
        return crate.within(hub.names.prefix(crate.person.uid, crate.person.gid), **hub.environment())

    return move
