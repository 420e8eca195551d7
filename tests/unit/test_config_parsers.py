"""What Docker's words mean: the parsers of engine.config, mounts, signals and words."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings, strategies

from cratebox.engine import config, environment, security_options, signals, ulimits, words
from cratebox.engine.config import MountWish, Ulimit
from cratebox.errors import CrateError, InvalidValue, Unsupported

CWD = "/home/me"


def bind(source: str, target: str, **rest: object) -> MountWish:
    return MountWish(kind="bind", source=source, target=target).replace(**rest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", bind("/a", "/b", make_source=True)),
        ("/a:/b:ro", bind("/a", "/b", read_only=True, make_source=True)),
        ("/a:/b:rw,rslave", bind("/a", "/b", options=("rslave",), make_source=True)),
        ("./x:/b", bind("/home/me/x", "/b", make_source=True)),
        ("../x:/b", bind("/home/x", "/b", make_source=True)),
        (".:/b", bind("/home/me", "/b", make_source=True)),
        ("/a/../c//d/:/b/./e/", bind("/c/d", "/b/e", make_source=True)),
        ("/a:/b:z", bind("/a", "/b", make_source=True)),
        ("//a:/b", bind("/a", "/b", make_source=True)),
        ("/a:/../b", bind("/a", "/b", make_source=True)),
    ],
)
def test_a_volume_is_a_bind_mount(text: str, expected: MountWish) -> None:
    assert config.parse_volume(text, CWD) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/a:b", "not a path in the container: b"),
        ("/a:/", "nothing can be mounted at /"),
        ("/a:/x/..", "nothing can be mounted at /"),
        ("/a:/b:loud", "no such option: loud"),
        ("/a:/b:ro,rw", "contradict"),
        ("/a:/b:shared,slave", "contradict"),
        ("/a:/b:ro:x", "not a volume"),
        (":/b", "not a volume"),
        ("/a::ro", "not a volume"),
        ("/a\0:/b", "not a path"),
    ],
)
def test_a_wrong_volume_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        config.parse_volume(text, CWD)


def volume(source: str, target: str, **rest: object) -> MountWish:
    return MountWish(kind="volume", source=source, target=target).replace(**rest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:/b", volume("data", "/b")),
        ("data:/b:ro", volume("data", "/b", read_only=True)),
        ("data:/b:ro,nocopy", volume("data", "/b", read_only=True, copy=False)),
        ("data:/b:U,Z,cached", volume("data", "/b", chown=True)),
        ("data:/b:idmap", volume("data", "/b", idmap="container")),
        ("data:/b:idmap=uids=0-1-10#10-11-10;gids=0-100-10", volume("data", "/b", idmap="uids=0-1-10#10-11-10;gids=0-100-10")),
        ("data:/b:noexec,nosuid,rslave", volume("data", "/b", options=("noexec", "nosuid", "rslave"))),
        ("/data", volume("", "/data", anonymous=True)),
        ("/data//x/", volume("", "/data/x", anonymous=True)),
    ],
)
def test_a_volume_has_a_name_or_none(text: str, expected: MountWish) -> None:
    assert config.parse_volume(text, CWD) == expected


@pytest.mark.parametrize(
    "text", ["a/b:/c", "d:/b", "-x:/b", "data:b", "a b:/c", "data:/", "x" * 256 + ":/b", "\x1b[31m:/b", "data", ""]
)
def test_a_wrong_name_of_a_volume_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        config.parse_volume(text, CWD)


@pytest.mark.parametrize(
    "words",
    ["nocopy", "copy", "exec,noexec", "ro,rw", "bind,rbind", "idmap=uids=1-2", "idmap=uids=0-0-0", "idmap=x=0-1-1",
     "idmap=uids=0-1-99999999999", "volume-nocopy", "u"],
)  # fmt: skip
def test_a_wrong_option_of_a_bind_mount_is_refused(words: str) -> None:
    with pytest.raises(InvalidValue):
        config.parse_volume(f"/a:/b:{words}", CWD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=bind,source=/a,target=/b", bind("/a", "/b")),
        ("type=bind,src=/a,dst=/b,readonly", bind("/a", "/b", read_only=True)),
        ("destination=/b,type=bind,src=./a,ro=true", bind("/home/me/a", "/b", read_only=True)),
        ("type=bind,src=/a,dst=/b,readonly=false", bind("/a", "/b")),
        ("type=bind,src=/a,dst=/b,bind-propagation=rslave", bind("/a", "/b", options=("rslave",))),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", bind("/a", "/b", options=("bind",))),
        ('type=bind,"src=/a,1",dst=/b', bind("/a,1", "/b")),
        ('type=bind,"src=/a""q",dst=/b', bind('/a"q', "/b")),
    ],
)
def test_a_mount_is_a_line_of_csv(text: str, expected: MountWish) -> None:
    assert config.parse_mount(text, CWD) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("type=bind,source=/a", "target is missing"),
        ("type=bind,target=/a", "source is missing"),
        ("type=bind,source=/a,target=/b,loud", "no such field: loud"),
        ("type=bind,source=/a,target=/b,readonly=perhaps", "true or false"),
        ("type=bind,source=/a,target=/b,tmpfs-size=1m", "tmpfs-size is not for type=bind"),
        ("type=tmpfs,source=/a,target=/b", "source is not for type=tmpfs"),
        ("type=tmpfs,target=/b,bind-propagation=shared", "not for type=tmpfs"),
        ("type=tmpfs", "target is missing"),
        ("type=bind,src=/a,dst=/b,bind-propagation=up", "no such propagation"),
        ("source", "no such field"),
        ('type=bind,"src=/a', "no line of CSV"),
        ("", "no such field"),
    ],
)
def test_a_wrong_mount_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        config.parse_mount(text, CWD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("source=data,target=/b", volume("data", "/b")),
        ("type=volume,target=/b", volume("", "/b", anonymous=True)),
        ("src=data,dst=/b,ro,volume-nocopy", volume("data", "/b", read_only=True, copy=False)),
        ("src=data,dst=/b,volume-subpath=a/b", volume("data", "/b", subpath="a/b")),
        ("src=data,dst=/b,volume-label=x=1,volume-label=y", volume("data", "/b", labels={"x": "1", "y": ""})),
        (
            'src=data,dst=/b,volume-driver=local,volume-opt=type=tmpfs,"volume-opt=o=size=1m,mode=700"',
            volume("data", "/b", driver_options={"type": "tmpfs", "o": "size=1m,mode=700"}),
        ),
        ("src=data,dst=/b,U=true,idmap,noexec", volume("data", "/b", chown=True, idmap="container", options=("noexec",))),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=writable", bind("/a", "/b", options=("ro",))),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate",
            bind("/a", "/b", read_only=True, options=("rprivate",)),
        ),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled", bind("/a", "/b", options=("bind",))),
        ("type=bind,src=/a,dst=/b,bind-create-src", bind("/a", "/b", make_source=True)),
        ("type=bind,src=/a,dst=/b,consistency=cached,relabel=shared", bind("/a", "/b")),
    ],
)
def test_a_mount_may_be_a_volume_and_much_else(text: str, expected: MountWish) -> None:
    assert config.parse_mount(text, CWD) == expected


@pytest.mark.parametrize(
    "text",
    [
        "src=/a,dst=/b",
        "src=data,dst=/b,volume-subpath=../x",
        "src=data,dst=/b,volume-subpath=/x",
        "src=data,dst=/b,volume-subpath=",
        "src=data,dst=/b,volume-label==x",
        "src=data,dst=/b,bind-nonrecursive",
        "type=bind,src=/a,dst=/b,volume-nocopy",
        "type=bind,src=/a,dst=/b,bind-recursive=readonly,ro",
        "type=bind,src=/a,dst=/b,bind-recursive=writable",
        "type=bind,src=/a,dst=/b,bind-recursive=maybe",
        "type=bind,src=/a,dst=/b,ro,rw",
        "src=data,dst=/b,volume-nocopy=perhaps",
        "type=tmpfs,dst=/b,U",
        "src=data,dst=/b,consistency=never",
        "type=bind,src=/a,dst=/b,relabel=some",
    ],
)
def test_a_wrong_mount_of_a_volume_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        config.parse_mount(text, CWD)


@pytest.mark.parametrize(
    "text", ["type=npipe,target=/b", "type=image,source=x,target=/b,rw", "src=data,dst=/b,volume-driver=nfs"]
)
def test_mounts_that_crate_does_not_have_are_said_to_be(text: str) -> None:
    with pytest.raises(Unsupported):
        config.parse_mount(text, CWD)


@pytest.mark.parametrize(
    ("text", "options", "read_only"),
    [
        ("/run", ("noexec", "nosuid", "nodev"), False),
        ("/run:size=64m,mode=1777", ("noexec", "nosuid", "nodev", "size=67108864", "mode=1777"), False),
        ("/run:exec,suid", ("nodev", "exec", "suid"), False),
        ("/run:ro,noexec", ("nosuid", "nodev", "noexec"), True),
        ("/run:rw,size=50%,uid=5", ("noexec", "nosuid", "nodev", "size=50%", "uid=5"), False),
    ],
)
def test_a_tmpfs_has_dockers_options(text: str, options: tuple[str, ...], read_only: bool) -> None:
    assert config.parse_tmpfs(text) == MountWish(kind="tmpfs", source="", target="/run", options=options, read_only=read_only)


@pytest.mark.parametrize(
    "text", ["run", "/run:size=big", "/run:mode=999", "/run:mode=77777", "/run:loud", "/run:size", "/run:uid=-1", "/run:a=b"]
)
def test_a_wrong_tmpfs_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        config.parse_tmpfs(text)


def test_a_tmpfs_may_be_written_as_a_mount() -> None:
    wish = config.parse_mount("type=tmpfs,target=/run,tmpfs-size=1m,tmpfs-mode=700,readonly", CWD)
    assert wish.options == ("noexec", "nosuid", "nodev", "size=1048576", "mode=700")
    assert wish.read_only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nofile=1024:2048", Ulimit("nofile", 1024, 2048)),
        ("nofile=1024", Ulimit("nofile", 1024, 1024)),
        ("memlock=-1:-1", Ulimit("memlock", -1, -1)),
        ("core=0:unlimited", Ulimit("core", 0, -1)),
    ],
)
def test_a_ulimit_is_soft_and_hard(text: str, expected: Ulimit) -> None:
    assert ulimits.parse_ulimit(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "nofile",
        "nofile=",
        "nofile=2:1",
        "nofile=-1:5",
        "nofil=1",
        "nofile=1:2:3",
        "nofile=x",
        "nofile=9223372036854775808",
        "=1",
        "nofile=\u0661",
    ],
)
def test_a_wrong_ulimit_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        ulimits.parse_ulimit(text)


def test_a_ulimit_that_is_nearly_right_gets_a_hint() -> None:
    with pytest.raises(InvalidValue) as caught:
        ulimits.parse_ulimit("nofiles=1")
    assert caught.value.hint == "did you mean nofile or locks?" or "nofile" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "expected"), [("A=1", "A=1"), ("A=", "A="), ("A=b=c", "A=b=c"), ("HOME", "HOME=/root"), ("NOPE", None)]
)
def test_a_variable_without_a_value_takes_that_of_the_host(text: str, expected: str | None) -> None:
    assert environment.parse_env(text, {"HOME": "/root"}) == expected


@pytest.mark.parametrize("text", ["", "=x", "A\0=x"])
def test_a_variable_needs_a_name(text: str) -> None:
    with pytest.raises(InvalidValue):
        environment.parse_env(text, {})


def test_an_env_file_is_read_by_dockers_rules() -> None:
    raw = b"\xef\xbb\xbfA=1\r\n\n  # a comment\n  B=\" x \"\t\nHOME\nNOPE\nC=a#b\nD='q'"
    assert environment.parse_env_file(raw, "f", {"HOME": "/r"}) == ("A=1", 'B=" x "\t', "HOME=/r", "C=a#b", "D='q'")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"A=1\n=x", "line 2: no name"),
        (b"export A=1", "line 1: a space in"),
        (b"A =1", "a space"),
        (b"A=1\n\xff=1", "line 2 is not UTF-8"),
        (b"A=\0", "line 1"),
    ],
)
def test_a_wrong_line_of_an_env_file_is_named(raw: bytes, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        environment.parse_env_file(raw, "f", {})


def test_an_env_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"cannot read the environment file /nope: No such file"):
        environment.read_env_file("/nope", {})
    with pytest.raises(InvalidValue, match=r"cannot read the label file /nope: No such file"):
        environment.read_env_file("/nope", {}, kind="label")


def test_an_env_file_of_a_gigabyte_is_refused(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "env").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InvalidValue, match="larger than 1048576 bytes"):
        environment.read_env_file(str(tmp_path / "env"), {})


def test_an_env_file_is_read_from_the_disk(tmp_path: pathlib.Path) -> None:
    (tmp_path / "env").write_text("A=1\n")
    assert environment.read_env_file(str(tmp_path / "env"), {}) == ("A=1",)


@pytest.mark.parametrize(("text", "expected"), [("a=b", ("a", "b")), ("a", ("a", "")), ("a=b=c", ("a", "b=c"))])
def test_a_label_is_a_key_and_a_value(text: str, expected: tuple[str, str]) -> None:
    assert config.parse_label(text) == expected


def test_a_label_needs_a_key() -> None:
    with pytest.raises(InvalidValue):
        config.parse_label("=x")


@pytest.mark.parametrize("text", ["web", "a1", "A_b.c-d", "0a", "a" * 128])
def test_names_of_containers_are_accepted(text: str) -> None:
    assert config.check_name(text) == text


@pytest.mark.parametrize("text", ["", "a", "-a", ".a", "a b", "a/b", "../a", "ä1", "a\n", "a" * 129, "a\x1b[2J"])
def test_other_names_of_containers_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        config.check_name(text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["box", "a.b-c.d", "a_b", "x" * 63, "9"])
def test_host_names_are_accepted(text: str) -> None:
    assert config.check_hostname(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a-", "a..b", ".a", "a.", "a b", "x" * 64 + ".a", "x" * 65, "é", "a\n"])
def test_other_host_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        config.check_hostname(text)


@pytest.mark.parametrize("text", ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_net_admin"])
def test_a_capability_may_be_written_with_or_without_its_prefix(text: str) -> None:
    assert config.check_capability(text) == "CAP_NET_ADMIN"


def test_all_capabilities_are_one_word() -> None:
    assert (config.check_capability("all"), config.check_capability("CAP_ALL")) == ("ALL", "ALL")


def test_an_unknown_capability_gets_the_nearest() -> None:
    with pytest.raises(InvalidValue, match="no such capability: NETADMIN") as caught:
        config.check_capability("NETADMIN")
    assert "CAP_NET_ADMIN" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["bridge", "host", "none", "container:x", "my-net", "b"])
def test_a_network_is_named(text: str) -> None:
    assert config.check_network(text) == text


@pytest.mark.parametrize("text", ["ns:/proc/1/ns/net", "pasta", "slirp4netns:mtu=9000"])
def test_other_engines_words_for_networks_are_not_there(text: str) -> None:
    with pytest.raises(Unsupported, match="is not there"):
        config.check_network(text)


@pytest.mark.parametrize("text", ["", "container:", "a/b", "-a", "a b", "../x", "x" * 129])
def test_what_no_network_can_be_called(text: str) -> None:
    with pytest.raises(InvalidValue, match="--network cannot be"):
        config.check_network(text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["no-new-privileges"], {"no_new_privileges": True}),
        (["no-new-privileges:true", "seccomp=unconfined"], {"no_new_privileges": True, "seccomp": "unconfined"}),
        (["no-new-privileges=false"], {"no_new_privileges": False}),
        (["seccomp=/p.json"], {"seccomp": "/p.json"}),
        (["seccomp:p.json"], {"seccomp": "/home/me/p.json"}),
        (["label=disable", "apparmor=unconfined"], {"apparmor": ""}),
        (["apparmor=docker-default"], {"apparmor": "docker-default"}),
        (["systempaths=unconfined"], {"unmasked": ("ALL",)}),
        (
            ["mask=/proc/a:/sys/b", "mask=/c/", "unmask=/proc/acpi"],
            {"masked": ("/proc/a", "/sys/b", "/c"), "unmasked": ("/proc/acpi",)},
        ),
    ],
)
def test_security_options_are_read(texts: list[str], expected: dict[str, object]) -> None:
    assert security_options.parse_security_opt(texts, CWD) == expected


@pytest.mark.parametrize(
    "text",
    [
        "seccomp",
        "seccomp=",
        "apparmor=",
        "mask=relative",
        "unmask=/",
        "mask=/a/../b",
        "label=type:x",
        "no-new-privileges=maybe",
        "x",
    ],
)
def test_security_options_that_crate_does_not_do_are_refused(text: str) -> None:
    with pytest.raises(CrateError):
        security_options.parse_security_opt([text], CWD)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("Hup", 1),
        ("RTMIN", 34),
        ("SIGRTMIN+1", 35),
        ("rtmax-1", 63),
        ("RTMAX", 64),
        ("64", 64),
        ("IOT", 6),
        ("POLL", 29),
        ("CLD", 17),
    ],
)
def test_a_signal_has_a_name_and_a_number(text: str, number: int) -> None:
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65",
        "-1",
        "SIG",
        "TERMINATE",
        "SIGSIGTERM",
        "RTMIN+99",
        "RTMIN-1",
        "RTMAX+1",
        "RTMIN+",
        "1.0",
        "\u0661",
        "99999999999",
    ],
)
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="no such signal"):
        signals.parse(text)


def test_every_signal_is_the_one_that_python_knows() -> None:
    import signal

    for known in signal.Signals:
        assert signals.parse(known.name) == known.value


def test_a_signals_name_reads_back() -> None:
    assert all(signals.parse(signals.name(number)) == number for number in [*range(1, 32), *range(34, 65)])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1024", 1024),
        ("64m", 67108864),
        ("64M", 67108864),
        ("64MB", 67108864),
        ("64MiB", 67108864),
        ("1.5g", 1610612736),
        ("10b", 10),
        ("2k", 2048),
        ("1 g", 1 << 30),
    ],
)
def test_a_size_is_in_bytes(text: str, count: int) -> None:
    assert words.size(text, "it") == count


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1mm", "1e3", "1..5g", "1bm", "\u0663", "9223372036854775808", "99999999p", "1ib", "0x10"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        words.size(text, "it")


@pytest.mark.parametrize(
    ("text", "keys"), [("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-@,x", b"\0x"), ("ctrl-[", b"\x1b"), ("", b"")]
)
def test_detach_keys_are_bytes(text: str, keys: bytes) -> None:
    assert config.parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-pp", "ab", "ctrl-1", "a,,b", "é"])
def test_other_detach_keys_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        config.parse_detach_keys(text)


def test_a_message_never_carries_a_control_character() -> None:
    assert words.shown("a\x1b[31mb\nc") == "a\\x1b[31mb\\nc"


_WORDS = strategies.text(max_size=30) | strategies.lists(
    strategies.sampled_from([":", ",", "=", "/", ".", '"', "type", "bind", "tmpfs", "source", "target", "ro", "size",
                             "nofile", "1", "-1", "a"]),
    max_size=10,
).map("".join)  # fmt: skip


@settings(max_examples=150, deadline=None, database=None)
@given(text=_WORDS)
def test_no_word_makes_a_parser_stumble(text: str) -> None:
    parsers = [
        lambda: config.parse_volume(text, CWD), lambda: config.parse_mount(text, CWD), lambda: config.parse_tmpfs(text),
        lambda: ulimits.parse_ulimit(text), lambda: environment.parse_env(text, {}), lambda: config.parse_label(text),
        lambda: security_options.parse_security_opt([text], CWD), lambda: config.parse_signal(text),
        lambda: config.parse_size(text, "it"),
        lambda: config.check_name(text), lambda: config.check_hostname(text), lambda: config.check_capability(text),
        lambda: config.parse_detach_keys(text),
        lambda: environment.parse_env_file(text.encode("utf-8", "surrogatepass"), "f", {}),
    ]  # fmt: skip
    said = []
    for parser in parsers:
        try:
            parser()
        except CrateError as error:
            said.append(error.message)
    assert all(message.isprintable() for message in said)
