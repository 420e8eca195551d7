"""The mounts of a spec, option by option, as the kernel shows them in the container."""

from __future__ import annotations

import os
import socket
import stat
import sys

import pytest

ATTRIBUTES = {
    "ro": "ro", "rw": "rw", "nosuid": "nosuid", "nodev": "nodev", "noexec": "noexec", "noatime": "noatime",
    "nodiratime": "nodiratime", "nosymfollow": "nosymfollow", "relatime": "relatime",
}  # fmt: skip
KINDS = {"shared": "shared", "rshared": "shared", "private": "", "rprivate": "", "slave": "", "rslave": "",
         "unbindable": "unbindable", "runbindable": "unbindable"}  # fmt: skip


class Line:
    """A line of mountinfo (proc(5))."""

    def __init__(self, text: str) -> None:
        fields = text.split()
        self.options, end = set(fields[5].split(",")), fields.index("-")
        self.place, self.kind, self.data = fields[4], fields[end + 1], set(fields[end + 3].split(","))
        self.propagation = [one.partition(":")[0] for one in fields[6:end]]


def lines(text: str) -> dict[str, Line]:
    """Of mounts that lie on each other the upper one."""
    return {one.place: one for one in map(Line, text.splitlines())}


def seen(oci, bundle) -> dict[str, Line]:
    bundle.process["args"] = ["/bin/cat", "/proc/self/mountinfo"]
    return lines(oci.output(bundle))


def between(oci, bundle, before: str, after: str = "true") -> list[str]:
    """Run `bundle` in a mount namespace between the machine's and the container's, with a shared mount at /mnt."""
    bundle.write()
    run = " ".join(oci.argv("run", "--bundle", bundle.directory, oci.name()))
    script = f"set -e; mount -t tmpfs none /mnt; mount --make-shared /mnt\n{before}\n{run}\n{after}"
    done = oci.person.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# --- attributes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_every_attribute_is_set(oci, kind):
    """Save that in a user namespace the kernel lets nobody change how access times of the host's files are kept."""
    bundle, words = oci.bundle(), dict(ATTRIBUTES)
    if oci.kind != "root" and kind == "bind":
        del words["noatime"], words["nodiratime"]
    for word in words:
        bundle.mount(f"/{word}", bundle.directory if kind == "bind" else "tmpfs", kind, word, kind=kind)
    bundle.spec["mounts"] = [
        one | {"options": [word for word in one["options"] if word != "tmpfs"]} for one in bundle.spec["mounts"]
    ]
    found = seen(oci, bundle)
    assert {word: found[f"/{word}"].options & set(ATTRIBUTES.values()) for word in words} == {
        word: {shown, "relatime", "rw"} - ({"rw"} if word == "ro" else {"relatime"} if word == "noatime" else set())
        for word, shown in words.items()
    }


def test_an_attribute_that_a_user_namespace_may_not_have_is_an_error(oci):
    if oci.kind == "root":
        pytest.skip("root may")
    bundle = oci.bundle("/bin/true")
    bundle.mount("/v", bundle.directory, "bind", "noatime").write()
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert f"cannot mount {bundle.directory} at /v: mount_setattr(" in told
    assert "+MOUNT_ATTR_NOATIME" in told
    assert "Operation not permitted (options bind,noatime)" in told


def test_strictatime_and_its_opposites(oci):
    bundle = oci.bundle()
    for word in ("strictatime", "nostrictatime", "norelatime", "atime", "diratime", "symfollow", "suid", "dev", "exec"):
        bundle.mount(f"/{word}", "tmpfs", "noatime", "nodiratime", "nosuid", "nodev", "noexec", word, kind="tmpfs")
    found = seen(oci, bundle)
    assert not found["/strictatime"].options & {"noatime", "relatime"}
    for word in ("nostrictatime", "norelatime", "atime"):
        assert "relatime" in found[f"/{word}"].options, "what is no longer asked for leaves the kernel's default"
    assert "nodiratime" not in found["/diratime"].options
    for word in ("suid", "dev", "exec"):
        assert f"no{word}" not in found[f"/{word}"].options


@pytest.mark.parametrize("word", ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"])
def test_a_recursive_attribute_reaches_what_is_mounted_below(root_oci, word):
    bundle = root_oci.bundle("/bin/cat", "/proc/self/mountinfo").mount("/v", "/mnt", "rbind", word)
    found = lines("\n".join(between(root_oci, bundle, "mkdir /mnt/sub; mount -t tmpfs sub /mnt/sub")))
    assert word[1:] in found["/v"].options
    assert word[1:] in found["/v/sub"].options


def test_a_plain_attribute_is_for_the_mount_itself_alone(root_oci):
    bundle = root_oci.bundle("/bin/cat", "/proc/self/mountinfo").mount("/v", "/mnt", "rbind", "ro", "rrw", "rnoexec", "exec")
    found = lines("\n".join(between(root_oci, bundle, "mkdir /mnt/sub; mount -t tmpfs sub /mnt/sub")))
    assert {"ro", "rw"} & found["/v"].options == {"ro"}
    assert {"ro", "rw"} & found["/v/sub"].options == {"rw"}
    assert "noexec" not in found["/v"].options
    assert "noexec" in found["/v/sub"].options


def test_bind_leaves_behind_what_is_mounted_below_and_rbind_does_not(root_oci):
    bundle = root_oci.bundle("/bin/cat", "/proc/self/mountinfo").mount("/one", "/mnt", "bind").mount("/all", "/mnt", "rbind")
    bundle.mount("/type", "/mnt", "ro")  # type bind without the word is the same
    found = lines("\n".join(between(root_oci, bundle, "mkdir /mnt/sub; mount -t tmpfs sub /mnt/sub")))
    assert "/all/sub" in found
    assert not {"/one/sub", "/type/sub"} & found.keys()


def test_options_of_the_file_system_are_passed_on(oci):
    bundle = oci.bundle().mount("/t", "tmpfs", "size=64k", "nr_inodes=32", "mode=0710", "sync", "lazytime", kind="tmpfs")
    data = seen(oci, bundle)["/t"].data
    assert {"size=64k", "nr_inodes=32", "mode=710", "sync", "lazytime"} <= data


@pytest.mark.parametrize("words", [(), ("ro",)])
def test_an_option_may_be_as_long_as_a_path(oci, words):
    """Podman's volumes with :O are overlays of directories far below."""
    bundle = oci.bundle(script="cat /v/file; touch /v/new; ls /v; [ ! -e /v/here ]")
    deep = bundle.directory / ("x" * 200) / ("y" * 200)
    for name in ("lower", "upper", "work"):
        (deep / name).mkdir(parents=True)
    (deep / "lower/file").write_text("below\n")
    oci.give(bundle.directory)
    options = [f"{key}dir={deep}/{key}" for key in ("lower", "upper", "work")]
    bundle.mount("/v", "overlay", *options, *words, *([] if oci.kind == "root" else ["userxattr"]), kind="overlay")
    if words:
        assert oci("run", "--bundle", bundle.write().directory, oci.name()).stdout == "below\nfile\n"
    else:
        assert oci.output(bundle) == "below\nfile\nnew\n"


def test_a_wrong_option_is_told_with_the_kernels_reason(oci):
    bundle = oci.bundle("/bin/true").mount("/t", "tmpfs", "nosuid", "size=junk", kind="tmpfs").write()
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "cannot mount tmpfs at /t: mount option size=junk of tmpfs: Invalid argument" in told
    assert "(options nosuid,size=junk)" in told


def test_a_password_among_the_options_is_not_printed(oci):
    bundle = oci.bundle("/bin/true").mount("/t", "tmpfs", "password=canary", kind="tmpfs").write()
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "mount option password=... of tmpfs" in told
    assert "canary" not in told


def test_a_file_system_that_the_kernel_lacks_is_named(root_oci):
    bundle = root_oci.bundle("/bin/true").mount("/t", "x", "ro", kind="nosuchfs").write()
    told = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name())
    assert "cannot mount x at /t: fsopen(nosuchfs): No such device" in told
    assert "/proc/filesystems" in told


# --- propagation ------------------------------------------------------------------------------------------------------


def test_every_kind_of_propagation_is_set(oci):
    bundle = oci.bundle()
    for word in KINDS:
        bundle.mount(f"/new-{word}", "tmpfs", word, kind="tmpfs").mount(f"/bound-{word}", bundle.directory, "bind", word)
    found = seen(oci, bundle)
    for word, kind in KINDS.items():
        assert "".join(found[f"/new-{word}"].propagation) == kind, word
        assert "".join(found[f"/bound-{word}"].propagation).replace("master", "") == kind, word


def test_what_the_container_mounts_below_a_shared_bind_reaches_the_host(root_oci):
    bundle = root_oci.bundle(script="mount -t tmpfs inner /v/sub && touch /v/sub/made").mount("/v", "/mnt", "rbind", "rshared")
    _give_sys_admin(bundle)
    assert between(root_oci, bundle, "mkdir /mnt/sub", "ls /mnt/sub") == ["made"]


@pytest.mark.parametrize(("words", "heard"), [(("rslave",), "late"), (("rprivate",), ""), ((), "")])
def test_a_slave_hears_of_the_hosts_later_mounts_and_nobody_else(root_oci, words, heard):
    wait = "until [ -e /go ]; do sleep 0.01; done; ls /v/sub"
    bundle = root_oci.bundle(script=wait).mount("/v", "/mnt", "rbind", *words).mount("/quiet", "/mnt", "rbind")
    bundle.process["args"][2] += "; ls /quiet/sub"
    late = f"mount -t tmpfs none /mnt/sub && touch /mnt/sub/late && touch {bundle.rootfs}/go"
    out = between(root_oci, bundle, f"mkdir /mnt/sub; (sleep 1; {late}) &")
    assert out == ([heard] if heard else [])


def test_nothing_the_container_mounts_reaches_the_host_unless_it_is_shared(root_oci):
    bundle = root_oci.bundle(script="mount -t tmpfs inner /v/sub && touch /v/sub/made").mount("/v", "/mnt", "rbind", "rslave")
    _give_sys_admin(bundle)
    assert between(root_oci, bundle, "mkdir /mnt/sub", "ls /mnt/sub") == []


def _give_sys_admin(bundle) -> None:
    for names in bundle.process["capabilities"].values():
        names.append("CAP_SYS_ADMIN")


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["mnt/deep/x", "./mnt/deep/x", "/mnt/../mnt/deep/./x/"])
def test_a_relative_destination_is_below_the_root(oci, place):
    assert "/mnt/deep/x" in seen(oci, oci.bundle().mount(place, "tmpfs", "nosuid", kind="tmpfs"))


def test_a_file_and_a_socket_are_bound(oci):
    bundle = oci.bundle(script="cat /etc/deep/file; [ -S /run/sock ] && echo socket")
    (bundle.directory / "file").write_text("of the host\n")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bundle.directory / "sock"))
        oci.give(bundle.directory)
        bundle.mount("/etc/deep/file", bundle.directory / "file").mount("/run/sock", bundle.directory / "sock")
        assert oci.output(bundle) == "of the host\nsocket\n"


def test_a_file_in_the_place_of_a_new_file_system_is_named(oci):
    bundle = oci.bundle("/bin/true").mount("/etc/passwd", "tmpfs", "nosuid", kind="tmpfs").write()
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "cannot mount tmpfs at /etc/passwd: a file is there in the image" in told


def test_a_bind_covers_what_a_symlink_of_the_image_names(oci):
    bundle = oci.bundle(script="cat /etc/real /etc/link; readlink /etc/link")
    (bundle.directory / "file").write_text("bound\n")
    (bundle.rootfs / "etc/link").symlink_to("/etc/real")
    (bundle.rootfs / "etc/real").write_text("of the image\n")
    assert oci.output(bundle.mount("/etc/link", bundle.directory / "file")) == "bound\nbound\n/etc/real\n"


def test_mounts_lie_in_mounts_and_on_each_other(oci):
    bundle = oci.bundle(script="cat /a/b/c/file; ls /a/b")
    (bundle.directory / "data").mkdir()
    (bundle.directory / "data/file").write_text("inner\n")
    oci.give(bundle.directory)
    bundle.mount("/a", "tmpfs", "nosuid", kind="tmpfs").mount("/a/b", "tmpfs", "nosuid", kind="tmpfs")
    bundle.mount("/a/b", "tmpfs", "nodev", kind="tmpfs").mount("/a/b/c", bundle.directory / "data", "rbind", "ro")
    assert oci.output(bundle) == "inner\nc\n"


def test_a_mount_on_the_root_is_the_root_from_there_on(oci):
    bundle = oci.bundle(script="cat /which; ls -d /proc/self /dev/null /x; touch /x/y")
    (bundle.rootfs / "which").write_text("below\n")
    other = bundle.directory / "other"
    os.rename(bundle.rootfs, other)
    bundle.rootfs.mkdir()
    (other / "which").write_text("on top\n")
    oci.give(bundle.directory)
    mounts = bundle.spec["mounts"]
    bundle.mount("/", other, "rbind")
    mounts.insert(0, mounts.pop())
    bundle.mount("/x", "tmpfs", "nosuid", kind="tmpfs")
    bundle.spec["root"]["readonly"] = True
    assert oci.output(bundle) == "on top\n/dev/null\n/proc/self\n/x\n"
    assert list(bundle.rootfs.iterdir()) == []


def test_a_read_only_root_has_mounts_that_can_be_written(oci):
    bundle = oci.bundle(script="touch /etc/x 2>/dev/null || echo no; touch /new/x /v/x && echo yes")
    (bundle.directory / "v").mkdir()
    oci.give(bundle.directory)
    bundle.spec["root"]["readonly"] = True
    bundle.mount("/new", "tmpfs", "nosuid", kind="tmpfs").mount("/v", bundle.directory / "v")
    assert oci.output(bundle) == "no\nyes\n"


def test_a_read_only_tmpfs_has_mounts_and_devices_in_it(oci):
    script = "touch /t/x 2>/dev/null || echo no; touch /t/in/x && echo yes; touch /dev/x 2>/dev/null || echo no"
    bundle = oci.bundle(script=script + "; [ -c /dev/null ] && echo x > /dev/null && echo null")
    bundle.mount("/t", "tmpfs", "ro", kind="tmpfs").mount("/t/in", "tmpfs", "nosuid", kind="tmpfs")
    next(one for one in bundle.spec["mounts"] if one["destination"] == "/dev")["options"].append("ro")
    assert oci.output(bundle) == "no\nyes\nno\nnull\n"


def test_a_tmpfs_has_the_mode_of_the_directory_that_it_covers(oci):
    bundle = oci.bundle("/bin/stat", "-c", "%a", "/tmp", "/secret", "/new", "/given")
    (bundle.rootfs / "secret").mkdir(mode=0o750)
    (bundle.rootfs / "given").mkdir(mode=0o750)
    oci.give(bundle.directory)
    for place in ("/tmp", "/secret", "/new"):
        bundle.mount(place, "tmpfs", "nosuid", kind="tmpfs")
    bundle.mount("/given", "tmpfs", "mode=0700", kind="tmpfs")
    assert oci.output(bundle).split() == ["1777", "750", "1777", "700"]


# --- remount ----------------------------------------------------------------------------------------------------------


def test_remount_changes_what_is_mounted(oci):
    bundle = oci.bundle().mount("/t", "tmpfs", "size=64k", kind="tmpfs").mount("/v", oci.directory, "bind")
    bundle.mount("/t", "tmpfs", "remount", "ro", "size=128k", "noexec", kind="tmpfs")
    bundle.spec["mounts"].append({"destination": "/v", "options": ["bind", "remount", "ro"]})
    found = seen(oci, bundle)
    assert {"ro", "noexec"} <= found["/t"].options
    assert "size=128k" in found["/t"].data
    assert "ro" in found["/v"].options


def test_remount_of_what_is_no_mount_is_refused(oci):
    bundle = oci.bundle("/bin/true").mount("/etc", "none", "remount", "ro", kind="none").write()
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "cannot remount /etc: " in told
    assert "nothing is mounted there" in told


@pytest.mark.parametrize("place", ["/sys", "/proc/sys", "/dev/shm"])
def test_remount_is_not_led_to_what_protects_the_host(oci, place):
    bundle = oci.bundle("/bin/true").mount("/v", "none", "bind", "remount", "rw", kind="none").write()
    (bundle.rootfs / "v").symlink_to(place)
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert f"cannot remount at /v: in this image it leads to {place}" in told


def test_remount_never_changes_a_file_system_of_the_host(root_oci):
    bundle = root_oci.bundle("/bin/true").mount("/v", "/mnt", "bind").mount("/v", "none", "remount", "size=1m", kind="tmpfs")
    bundle.write()
    run = " ".join(root_oci.argv("run", "--bundle", bundle.directory, root_oci.name()))
    script = f"mount -t tmpfs -o size=64k none /mnt; {run}; grep ' /mnt ' /proc/self/mountinfo"
    done = root_oci.person.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    assert "the file system is not the container's alone" in done.stderr
    assert "size=64k" in done.stdout


# --- tmpcopyup --------------------------------------------------------------------------------------------------------


def test_tmpcopyup_begins_with_what_the_image_has(oci):
    show = "stat -c '%n %A %u %g %h %Y' /d/* /d/sub/*; cat /d/file /d/sub/link; echo more >> /d/file; stat -c %a /d"
    bundle = oci.bundle(script=show)
    source = bundle.rootfs / "d"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("content\n")
    (source / "file").chmod(0o4751)
    os.link(source / "file", source / "sub/hard")
    (source / "sub/link").symlink_to("../file")
    (source / "out").symlink_to("/etc/shadow")
    os.mkfifo(source / "pipe", 0o640)
    for path in source.rglob("*"):
        os.utime(path, (10**9, 10**9), follow_symlinks=False)
    oci.give(bundle.directory)
    source.chmod(0o711)
    (source / "file").chmod(0o4751)
    plain = oci.output(bundle)
    (source / "file").write_text("content\n")
    os.utime(source / "file", (10**9, 10**9))
    oci.give(bundle.directory)
    (source / "file").chmod(0o4751)
    bundle.mount("/d", "tmpfs", "nosuid", "tmpcopyup", kind="tmpfs")
    assert oci.output(bundle) == plain
    assert (source / "file").read_text() == "content\n", "what is written goes to the tmpfs"


def test_tmpcopyup_of_more_than_the_tmpfs_holds_is_an_error(oci):
    bundle = oci.bundle("/bin/true").mount("/bin", "tmpfs", "tmpcopyup", "size=64k", kind="tmpfs").write()
    told = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "cannot mount tmpfs at /bin: " in told
    assert "No space left on device" in told


def test_tmpcopyup_counts_as_the_containers_memory(root_oci):
    bundle = root_oci.bundle("/bin/true").mount("/big", "tmpfs", "tmpcopyup", kind="tmpfs")
    bundle.spec["mounts"].insert(0, bundle.spec["mounts"].pop())  # before the cgroups are shown
    bundle.linux["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
    (bundle.rootfs / "big").mkdir()
    (bundle.rootfs / "big/file").write_bytes(b"x" * (128 << 20))  # holes stay holes
    told = root_oci.fails("run", "--bundle", bundle.write().directory, root_oci.name())
    assert "memory ran out" in told


@pytest.mark.parametrize(("depth", "code"), [(120, 0), (400, 1)])
def test_tmpcopyup_does_not_fall_into_a_well(oci, depth, code):
    bundle = oci.bundle("/bin/true").mount("/etc", "tmpfs", "tmpcopyup", kind="tmpfs").write()
    (bundle.rootfs / "etc" / "/".join("d" * depth)).mkdir(parents=True)
    oci.give(bundle.rootfs)
    done = oci("run", "--bundle", bundle.directory, oci.name())
    assert done.returncode == code, done.stderr
    assert ("cannot mount tmpfs at /etc: more than 128 directories in each other" in done.stderr) == bool(code)


def test_tmpcopyup_leaves_the_mode_and_owner_that_were_asked_for(oci):
    bundle = oci.bundle("/bin/stat", "-c", "%a %u %g", "/etc").mount(
        "/etc", "tmpfs", "tmpcopyup", "mode=700", "gid=3", kind="tmpfs"
    )
    assert oci.output(bundle) == "700 0 3\n"


def test_tmpcopyup_where_the_image_has_nothing_is_an_empty_tmpfs(oci):
    bundle = oci.bundle(script="ls -a /new").mount("/new", "tmpfs", "tmpcopyup", "ro", kind="tmpfs")
    assert oci.output(bundle).split() == [".", ".."]


# --- labels -----------------------------------------------------------------------------------------------------------


def test_a_mount_label_without_selinux_is_refused_and_an_empty_one_is_not(oci):
    bundle = oci.bundle("/bin/true")
    bundle.linux["mountLabel"] = ""
    oci.output(bundle)
    bundle.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
    bundle.write()
    assert "does not run SELinux" in oci.fails("run", "--bundle", bundle.directory, oci.name())


# --- pivot_root, and without ------------------------------------------------------------------------------------------


def test_without_pivot_root_the_container_has_its_root_and_nothing_else(root_oci):
    bundle = root_oci.bundle(script="ls /; cat /proc/self/mountinfo | wc -l; ls -d /var/tmp 2>/dev/null; [ -c /dev/null ]")
    pivoted = root_oci.output(bundle)
    bundle.write()
    assert root_oci.ok("run", "--no-pivot", "--bundle", bundle.directory, root_oci.name()) == pivoted


def test_without_pivot_root_a_chroot_leads_back_to_the_containers_root(root_oci):
    """The way out of a chroot: another one below the working directory, and then up."""
    bundle = root_oci.bundle("/bin/sleep", "900")
    name = root_oci.create(bundle, "--no-pivot")
    escape = "import ctypes, os, sys; assert ctypes.CDLL(None).setns(os.open(f'/proc/{sys.argv[1]}/ns/mnt', 0), 0x20000) == 0"
    escape += "; os.chroot('/tmp')"
    escape += "; os.chdir('../' * 20); print(*sorted(os.listdir('.')))"
    done = root_oci.person.run([sys.executable, "-c", escape, str(root_oci.state(name)["pid"])])
    root_oci.ok("delete", "--force", name)
    assert done.stdout.split() == sorted(path.name for path in bundle.rootfs.iterdir()), done.stderr


def test_without_pivot_root_exec_is_in_the_containers_root(root_oci):
    bundle = root_oci.bundle("/bin/sleep", "900")
    (bundle.rootfs / "mark").write_text("inside")
    name = root_oci.create(bundle, "--no-pivot")
    root_oci.ok("start", name)
    assert root_oci.ok("exec", name, "/bin/sh", "-c", "cd /; cat mark; cd ..; cat mark") == "insideinside"
    root_oci.ok("delete", "--force", name)


def test_without_pivot_root_is_refused_in_a_user_namespace(oci):
    bundle = oci.bundle("/bin/true").write()
    if oci.kind != "root":
        assert "--no-pivot" in oci.fails("run", "--no-pivot", "--bundle", bundle.directory, oci.name())


def test_a_bind_source_that_only_the_hosts_root_reaches_is_mounted_in_a_user_namespace(oci):
    if oci.kind != "userns":
        pytest.skip("needs root, whose containers have a user namespace")
    closed = oci.directory / "closed"
    (closed / "data").mkdir(parents=True)
    (closed / "data/file").write_text("reached\n")
    closed.chmod(0o700)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    bundle = oci.bundle("/bin/cat", "/v/file").mount("/v", closed / "data", "rbind", "rprivate")
    assert oci.output(bundle) == "reached\n"


# --- file systems of namespaces that are joined -----------------------------------------------------------------------


def _joining(oci, first: str, kinds: tuple[str, ...], script: str):
    """A bundle that joins the namespaces of these kinds of the container `first`."""
    bundle = oci.bundle(script=script)
    pid = oci.state(first)["pid"]
    for space in bundle.linux["namespaces"]:
        if space["type"] in kinds:
            space["path"] = f"/proc/{pid}/ns/" + {"network": "net"}.get(space["type"], space["type"])
    if "user" in kinds:
        bundle.linux.update(uidMappings=[], gidMappings=[])
    return bundle


def test_proc_sysfs_and_mqueue_show_the_namespaces_that_are_joined(oci):
    """In a user namespace the owner of those namespaces must be joined with them, as engines do for a pod."""
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    oci.ok("start", name)
    kinds = ("pid", "network", "ipc") if oci.kind == "root" else ("pid", "network", "ipc", "user")
    bundle = _joining(oci, name, kinds, "cat /proc/1/cmdline | tr '\\0' ' '; ls -d /sys/class/net/lo /dev/mqueue")
    assert oci.output(bundle) == "/bin/sleep 900 /dev/mqueue\n/sys/class/net/lo\n"
    oci.ok("delete", "--force", name)
