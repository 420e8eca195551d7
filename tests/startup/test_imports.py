"""What the commands that people wait for import: a count is stable where a time is not."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import commands
from support.bundles import Oci
from support.commands import Crate

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Built
    from support.images import Image
    from support.registry import Hub, Registry

# Milliseconds each, on the interpreter of Debian 12; what they bring along is in the number.
DEAR = {
    "argparse": 9, "asyncio": 40, "contextlib": 4, "ctypes": 3, "dataclasses": 14, "enum": 4, "functools": 2, "http": 25,
    "json": 7,
    "logging": 13, "pathlib": 10, "re": 6, "shutil": 10, "socket": 6, "sqlite3": 5, "ssl": 13, "subprocess": 11, "tempfile": 10,
    "threading": 2, "typing": 9, "urllib": 8, "urllib3": 60, "rich": 40, "site": 2,
}  # fmt: skip


def imported(crate: Crate, *args: str) -> set[str]:
    """Run the command with an interpreter that tells each import; return the names of the modules."""
    python, *flags, entry, name = commands.words_of(crate.executable)
    argv = [*crate.prefix, python, *flags, "-X", "importtime", entry, name, *args]
    done = crate.person_behind_prefix().run(argv, env=crate.environment)
    assert done.returncode == 0, done.stderr
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "_ctypes" in found  # of modules that come from a bundle it says nothing
    return found


@pytest.fixture
def image(rootful: Crate, busybox_image: Built) -> str:
    rootful.ok("pull", "--quiet", str(busybox_image))
    image = rootful.ok("images", "-q")
    rootful.ok("run", "--rm", "--network", "none", image, "true")  # now the filter is compiled and kept
    return image


def dear(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in DEAR}


def test_run_imports_nothing_dear(rootful: Crate, image: str) -> None:
    assert not dear(imported(rootful, "run", "--rm", "--network", "none", image, "true"))


def test_run_imports_nothing_of_volumes(rootful: Crate, image: str) -> None:
    found = imported(rootful, "run", "--rm", "--network", "none", "-v", "/tmp:/x", image, "true")
    of_volumes = {name for name in found if "volume" in name or name in {"cratebox.runtime.filling", "cratebox.runtime.copyup"}}
    assert not of_volumes


def test_run_with_a_volume_imports_nothing_dear(rootful: Crate, image: str) -> None:
    assert not dear(imported(rootful, "run", "--rm", "--network", "none", "-v", "data:/etc", image, "true"))


def test_create_imports_nothing_dear(rootful: Crate, image: str) -> None:
    assert not dear(imported(rootful, "create", "--network", "none", image, "true"))


def test_start_imports_nothing_dear(rootful: Crate, image: str) -> None:
    name = rootful.ok("create", "--network", "none", image, "true")
    assert not dear(imported(rootful, "start", "-a", name))


def test_an_ordinary_users_run_imports_nothing_dear(rootless: Crate, busybox_image: Built) -> None:
    rootless.ok("pull", "--quiet", str(busybox_image))
    image = rootless.ok("images", "-q")
    rootless.ok("run", "--rm", "--network", "none", image, "true")
    assert not dear(imported(rootless, "run", "--rm", "--network", "none", image, "true"))


def test_a_run_on_a_bridge_with_a_port_imports_nothing_dear_and_nothing_of_names(rootful: Crate, image: str) -> None:
    words = ("run", "--rm", "--network", "bridge", "-p", "127.0.0.1::80", image, "true")
    rootful.ok(*words)  # makes the bridge and the rules
    found = imported(rootful, *words)
    assert not dear(found)
    of_others = {name for name in found if name.startswith(("cratebox.network.dns", "cratebox.network.user"))}
    assert not of_others


def test_what_attaches_a_namespace_with_names_is_not_dear_either(scratch: Path) -> None:
    """It is imported by the supervisor, whose standard error is not the command's."""
    executable = commands.command("crate", scratch)
    imports = "from cratebox.network import dns, dns_redirect, plugging"
    code = f"import sys; sys.path.insert(0, sys.argv[1]); {imports}; print(*sys.modules)"
    python = (commands.words_of(executable)[0], "-I", "-S", "-c", code, str(commands.package_of(executable).parent))
    done = subprocess.run(python, capture_output=True, text=True)
    found = set(done.stdout.split())
    assert "cratebox.network.dns_place" in found, done.stderr
    assert "cratebox.network.dns_server" not in found  # of the resolver
    assert not dear(found)


def test_an_ordinary_users_run_on_a_bridge_imports_nothing_dear(outward: Crate, busybox_image: Built) -> None:
    if not any(Path(f"/usr/bin/{name}").exists() for name in ("pasta", "slirp4netns")):
        pytest.skip("neither pasta nor slirp4netns is installed")
    outward.ok("pull", "--quiet", str(busybox_image))
    image = outward.ok("images", "-q")
    words = ("run", "--rm", "--network", "bridge", "-p", "127.0.0.1::80", image, "true")
    outward.ok(*words)
    python, *flags, entry, name = commands.words_of(outward.executable)
    argv = [*outward.prefix, python, *flags, "-X", "importtime", entry, name, *words]
    done = replace(outward.person, uid=os.geteuid()).run(argv, env=outward.environment)
    assert done.returncode == 0, done.stderr
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "cratebox.network.usermode" in found
    assert not dear(found)


def test_a_pull_of_what_is_there_imports_nothing_dear(rootful: Crate, registry: Registry, busybox_base: Image) -> None:
    name = registry.push("startup/there", "latest", busybox_base)
    rootful.ok("pull", "--quiet", name)
    found = imported(rootful, "pull", "--quiet", name)
    assert not {"cratebox.image.fetch", "urllib3"} & found  # so the short way was enough
    if "tomllib" not in found:  # the machine's registries.conf has something to say
        assert not dear(found)


def test_a_pull_of_what_is_there_from_docker_hub_imports_no_urllib3(
    rootful: Crate, hub: Hub, at_hub: Callable[[Crate], Crate], busybox_base: Image
) -> None:
    there = at_hub(rootful)
    name = hub.push("startup/there", "latest", busybox_base)
    there.ok("pull", "--quiet", name)
    found = imported(there, "pull", "--quiet", name)
    assert "ssl" in found
    assert "cratebox.image.fetch" not in found
    assert not {each.partition(".")[0] for each in found} & {"urllib3", "http", "email", "logging", "threading", "json"}


def imported_by_oci(oci: Oci, *args: str | Path) -> set[str]:
    """As `imported`, for crate-oci; what the command prints goes nowhere, for a container may have it for longer."""
    python, *flags, entry, name = commands.words_of(oci.executable)
    argv = [python, *flags, "-X", "importtime", entry, name, *oci.argv(*args)[1:]]
    log = oci.directory / "importtime"
    with log.open("wb") as errors:
        done = oci.person.run(argv, capture_output=False, stdout=subprocess.DEVNULL, stderr=errors)
    text = log.read_text()
    assert done.returncode == 0, text[-500:]
    found = {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}
    assert "_json" in found
    return found


def test_the_verbs_of_the_runtime_import_nothing_dear(root_oci: Oci) -> None:
    bundle = root_oci.bundle("/bin/sleep", "100").write().directory
    name = root_oci.name()
    root_oci.ok("run", "--bundle", root_oci.bundle("/bin/true").directory, root_oci.name())
    words = [
        ("create", "--bundle", bundle, name),
        ("start", name),
        ("state", name),
        ("exec", name, "/bin/true"),
        ("pause", name),
    ]
    words += [("resume", name), ("kill", name, "KILL"), ("delete", "--force", name)]
    found = {verb[0]: imported_by_oci(root_oci, *verb) for verb in words}
    assert not any(dear(modules) for modules in found.values()), found
    # What is asked often does without the C library, whose door costs as much as all else that they import.
    assert {verb for verb, modules in found.items() if "_ctypes" in modules} == {"create", "exec"}


def test_the_package_alone_imports_nothing(scratch: Path) -> None:
    code = "import sys; before = set(sys.modules); import cratebox; print(cratebox.__file__, sorted(set(sys.modules) - before))"
    executable = commands.command("crate", scratch)
    package = commands.package_of(executable)
    python = [
        commands.words_of(executable)[0],
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); {code}",
    ]
    done = subprocess.run(python, capture_output=True, text=True)
    assert done.stdout.strip() == f"{package}/__init__.py ['__future__', 'cratebox']", done.stderr


NOT_FOR_EXEC = {"cratebox.engine.images", "cratebox.engine.making", "cratebox.engine.launch", "cratebox.engine.preparation",
                "cratebox.engine.supervisor",
                "cratebox.runtime.create", "cratebox.runtime.mounts", "cratebox.runtime.rootfs"}  # fmt: skip


def test_exec_imports_nothing_dear_and_nothing_of_a_start(rootful: Crate, image: str) -> None:
    rootful.ok("run", "-d", "--name", "web", "--network", "none", image, "sleep", "100")
    found = imported(rootful, "exec", "web", "true")
    assert not dear(found)
    assert not found & NOT_FOR_EXEC


def test_an_ordinary_users_exec_imports_nothing_dear(rootless: Crate, busybox_image: Built) -> None:
    rootless.ok("pull", "--quiet", str(busybox_image))
    image = rootless.ok("images", "-q")
    rootless.ok("run", "-d", "--name", "web", "--network", "none", image, "sleep", "100")
    found = imported(rootless, "exec", "web", "true")
    assert not dear(found)
    assert not found & NOT_FOR_EXEC
