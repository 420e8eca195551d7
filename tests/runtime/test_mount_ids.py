"""Bind mounts whose IDs are mapped (mount_setattr(2), MOUNT_ATTR_IDMAP): idmap, ridmap, uidMappings, gidMappings."""

from __future__ import annotations

import os

import pytest

MAP = [{"containerID": 0, "hostID": 7000, "size": 1000}]
GROUPS = [{"containerID": 0, "hostID": 8000, "size": 1000}]


def bound(oci, bundle, *options, uids=None, gids=None):
    """Bind a directory of the host with files of 0:0 and of 5:6."""
    data = oci.directory / f"data-{bundle.directory.name}"
    data.mkdir()
    for name, uid, gid in (("root", 0, 0), ("other", 5, 6)):
        (data / name).write_text(name)
        os.chown(data / name, uid, gid)
    bundle.mount("/v", data, *options)
    if uids:
        bundle.spec["mounts"][-1] |= {"uidMappings": uids, "gidMappings": gids}
    bundle.process["args"] = ["/bin/stat", "-c", "%u:%g", "/v/root", "/v/other"]
    return bundle


@pytest.mark.parametrize("options", [("bind", "idmap"), ("rbind", "ridmap"), ("rbind",)])
def test_files_are_shown_with_the_mapped_ids(root_oci, options):
    bundle = bound(root_oci, root_oci.bundle(), *options, uids=MAP, gids=GROUPS)
    assert root_oci.output(bundle).split() == ["7000:8000", "7005:8006"]


def test_what_the_container_writes_has_the_ids_that_are_mapped_to_its_own(root_oci):
    bundle = bound(root_oci, root_oci.bundle(), "bind", "idmap", uids=MAP, gids=GROUPS)
    bundle.process["args"] = ["/bin/touch", "/v/new"]
    bundle.process["user"] = {"uid": 7003, "gid": 8004}
    data = bundle.spec["mounts"][-1]["source"]
    os.chmod(data, 0o777)
    root_oci.output(bundle)
    info = os.stat(data + "/new")
    assert (info.st_uid, info.st_gid) == (3, 4)


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_without_mappings_it_is_the_containers_own(oci, option):
    if oci.kind != "userns":
        pytest.skip("needs root, whose containers have a user namespace")
    bundle = bound(oci, oci.bundle(), "bind", option)
    assert oci.output(bundle).split() == ["0:0", "5:6"]


def test_mappings_of_the_mounts_own_meet_the_containers(oci):
    if oci.kind != "userns":
        pytest.skip("needs root, whose containers have a user namespace")
    uids = [{"containerID": 5, "hostID": 100001, "size": 1}, {"containerID": 0, "hostID": 100010, "size": 1}]
    gids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    bundle = bound(oci, oci.bundle(), "bind", "idmap", uids=uids, gids=gids)
    assert oci.output(bundle).split() == ["10:0", "1:6"]


@pytest.mark.parametrize(("option", "below"), [("idmap", "0"), ("ridmap", "7000")])
def test_ridmap_maps_what_is_mounted_below_and_idmap_does_not(root_oci, option, below):
    bundle = root_oci.bundle("/bin/stat", "-c", "%u", "/v/", "/v/sub/").mount("/v", "/mnt", "rbind", option)
    bundle.spec["mounts"][-1] |= {"uidMappings": MAP, "gidMappings": GROUPS}
    bundle.write()
    run = " ".join(root_oci.argv("run", "--bundle", bundle.directory, root_oci.name()))
    script = f"mount -t tmpfs none /mnt; mkdir /mnt/sub; mount -t tmpfs none /mnt/sub; {run}"
    done = root_oci.person.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    assert (done.stdout.split(), done.stderr) == (["7000", below], "")


def test_without_any_mapping_it_is_refused(root_oci):
    bundle = bound(root_oci, root_oci.bundle(), "bind", "idmap").write()
    told = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name())
    assert "has idmap, but neither it nor the container has ID mappings" in told
    assert root_oci.left() == []


def test_an_ordinary_user_is_told_that_it_takes_root(oci):
    if not oci.rootless:
        pytest.skip("root may")
    bundle = oci.bundle("/bin/true").mount("/v", oci.directory, "bind", "idmap").write()
    assert "mapping the IDs of a mount takes root" in oci.fails("run", "--bundle", bundle.directory, oci.name())


def test_a_file_system_that_does_not_map_ids_is_named(root_oci):
    bundle = root_oci.bundle("/bin/true").mount("/v", "/proc/sys", "bind", "idmap")
    bundle.spec["mounts"][-1] |= {"uidMappings": MAP, "gidMappings": GROUPS}
    bundle.write()
    told = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name())
    assert "cannot map the IDs of /proc/sys at /v: mount_setattr(" in told
    assert "does not let its IDs be mapped" in told


def test_a_source_that_is_missing_is_named(root_oci):
    bundle = root_oci.bundle("/bin/true").mount("/v", "/does/not/exist", "bind", "idmap")
    bundle.spec["mounts"][-1] |= {"uidMappings": MAP, "gidMappings": GROUPS}
    bundle.write()
    told = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name())
    assert "cannot mount /does/not/exist at /v: open_tree(/does/not/exist): No such file or directory" in told


def test_without_mappings_those_of_a_joined_user_namespace_are_taken(oci):
    if oci.kind != "userns":
        pytest.skip("needs root, whose containers have a user namespace")
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    bundle = bound(oci, oci.bundle(), "bind", "idmap")
    (space,) = [one for one in bundle.linux["namespaces"] if one["type"] == "user"]
    space["path"] = f"/proc/{oci.state(name)['pid']}/ns/user"
    bundle.linux.update(uidMappings=[], gidMappings=[])
    assert oci.output(bundle).split() == ["0:0", "5:6"]
    oci.ok("delete", "--force", name)
