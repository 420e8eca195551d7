"""Whose a container's cgroup is: the process's user's, where the container may write to it."""

from __future__ import annotations

import pytest

from cratebox.runtime.cgroup_owner import owner
from cratebox.runtime.spec import IDMapping, Linux, Mount, Namespace, Process, Spec, User

SHOWN = (Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("rw", "nosuid")),)


def spec(*kinds, uid=0, mounts=SHOWN, maps=()):
    linux = Linux(
        namespaces=tuple(Namespace(*kind) if isinstance(kind, tuple) else Namespace(kind) for kind in kinds), uid_mappings=maps
    )
    return Spec("1.3.0", mounts=mounts, process=Process(cwd="/", user=User(uid)), linux=linux)


def test_it_is_the_user_as_the_host_numbers_him():
    maps = (IDMapping(0, 100_000, 1000), IDMapping(1000, 5000, 10))
    assert owner(spec("cgroup", "user", maps=maps)) == 100_000
    assert owner(spec("cgroup", "user", uid=1003, maps=maps)) == 5003
    assert owner(spec("cgroup", "user", uid=2000, maps=maps)) is None
    assert owner(spec("cgroup", uid=7)) == 7
    assert owner(spec("cgroup")) is None  # root's it is anyway


@pytest.mark.parametrize(
    "kept",
    [
        spec("user", uid=7),
        spec(("cgroup", "/proc/1/ns/cgroup"), uid=7),
        spec("cgroup", uid=7, mounts=()),
        spec("cgroup", uid=7, mounts=(Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro",)),)),
        spec("cgroup", uid=7, mounts=(Mount("/sys/fs/cgroup", "tmpfs", "tmpfs"),)),
        spec("cgroup", ("user", "/proc/1/ns/user"), uid=7),
    ],
)
def test_what_the_container_cannot_write_to_stays_its_makers(kept):
    assert owner(kept) is None
