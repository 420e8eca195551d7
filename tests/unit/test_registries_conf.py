"""registries.conf: which files count, what they say together, and what is not understood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cratebox.errors import InvalidValue, NotAllowed
from cratebox.image import endpoints, reference, registries_conf, settings
from cratebox.image.registries_conf import Rules

DIGEST = "sha256:" + "a" * 64
Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """No file of whoever runs the tests is read. Returns: write a file below `etc` or `home/.config/containers`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CONTAINERS_REGISTRIES_CONF", raising=False)
    monkeypatch.setattr(registries_conf, "SYSTEM", str(tmp_path / "etc"))

    def write(name: str, text: str) -> Path:
        path = tmp_path / name.replace("home/", "home/.config/containers/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def read(write: Write, text: str) -> Rules:
    write("etc/registries.conf", text)
    return registries_conf.load()


def asked(name: str, rules: Rules) -> list[str]:
    wished = settings.Settings(namespaces=rules.namespaces)
    return [str(each.reference) for each in endpoints.to_read(reference.parse(name), wished)]


def test_no_file_says_nothing() -> None:
    assert registries_conf.load() == Rules()
    assert asked("alpine", Rules()) == ["docker.io/library/alpine:latest"]


def test_a_file_of_comments_says_nothing(write: Write) -> None:
    assert read(write, "# unqualified-search-registries = []\n\n  # [[registry]]\n").namespaces == ()


def test_the_example_of_the_manual_page_is_followed(write: Write) -> None:
    text = """
    unqualified-search-registries = ["example.com"]
    [[registry]]
    prefix = "example.com/foo"
    insecure = false
    blocked = false
    location = "internal.example.net/bar"
    [[registry.mirror]]
    location = "mirror-0.local/mirror-for-foo"
    [[registry.mirror]]
    location = "mirror-1.local/mirrors/foo"
    insecure = true
    [[registry]]
    location = "registry.com"
    [[registry.mirror]]
    location = "mirror.registry.com"
    """
    rules = read(write, text)
    assert asked("example.com/foo/image", rules) == [
        "mirror-0.local/mirror-for-foo/image:latest",
        "mirror-1.local/mirrors/foo/image:latest",
        "internal.example.net/bar/image:latest",
    ]
    assert asked("registry.com/image", rules) == ["mirror.registry.com/image:latest", "registry.com/image:latest"]
    assert asked("example.com/food/image", rules) == ["example.com/food/image:latest"]
    wished = settings.Settings(namespaces=rules.namespaces)
    places = endpoints.to_read(reference.parse("example.com/foo/image"), wished)
    assert [each.settings.insecure for each in places] == [(), ("mirror-1.local",), ()]
    assert [each.mirror for each in places] == [True, True, False]


def test_the_longest_prefix_counts_alone(write: Write) -> None:
    rules = read(write, '[[registry]]\nlocation="a.io"\nblocked=true\n[[registry]]\nlocation="a.io/free"\n')
    assert asked("a.io/free/x:1", rules) == ["a.io/free/x:1"]
    with pytest.raises(NotAllowed, match=r"a\.io/other:latest: a\.io is blocked in .*registries\.conf"):
        asked("a.io/other", rules)


def test_a_star_stands_for_any_depth_of_domains(write: Write) -> None:
    rules = read(write, '[[registry]]\nprefix="*.a.io"\nblocked=true\n')
    for name in ("x.a.io/n", "y.x.a.io/n", "x.a.io:5000/n", "X.A.io/n"):
        with pytest.raises(NotAllowed):
            asked(name, rules)
    for name in ("a.io/n", "xa.io/n", "x.a.io.evil.test/n"):
        assert asked(name, rules) == [f"{name}:latest"]


def test_a_star_without_location_moves_nothing_but_its_mirrors_are_asked(write: Write) -> None:
    rules = read(write, '[[registry]]\nprefix="*.a.io"\n[[registry.mirror]]\nlocation="m.lan/a"\n')
    assert asked("x.a.io/team/n:1", rules) == ["m.lan/a/team/n:1", "x.a.io/team/n:1"]


@pytest.mark.parametrize(
    ("said", "by_tag", "by_digest"),
    [
        ("", True, True), ('pull-from-mirror="all"', True, True), ('pull-from-mirror="digest-only"', False, True),
        ('pull-from-mirror="tag-only"', True, False),
    ],
)  # fmt: skip
def test_a_mirror_may_be_for_tags_or_digests_alone(write: Write, said: str, by_tag: bool, by_digest: bool) -> None:
    rules = read(write, f'[[registry]]\nlocation="a.io"\n[[registry.mirror]]\nlocation="m.lan"\n{said}\n')
    assert (len(asked("a.io/n:1", rules)) == 2) == by_tag
    assert (len(asked(f"a.io/n@{DIGEST}", rules)) == 2) == by_digest


def test_all_mirrors_of_a_registry_may_be_for_digests_alone(write: Write) -> None:
    rules = read(write, '[[registry]]\nlocation="a.io"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation="m.lan"\n')
    assert asked("a.io/n:1", rules) == ["a.io/n:1"]
    assert asked(f"a.io/n:1@{DIGEST}", rules) == [f"m.lan/n:1@{DIGEST}", f"a.io/n:1@{DIGEST}"]


def test_a_push_goes_to_the_name_itself(write: Write) -> None:
    rules = read(write, '[[registry]]\nprefix="a.io"\nlocation="b.io"\ninsecure=true\n[[registry.mirror]]\nlocation="m.lan"\n')
    to = endpoints.to_write(reference.parse("a.io/n:1"), settings.Settings(namespaces=rules.namespaces))
    assert (str(to.reference), to.settings.insecure) == ("a.io/n:1", ("a.io",))


def test_nothing_is_pushed_to_a_blocked_name(write: Write) -> None:
    rules = read(write, '[[registry]]\nlocation="a.io"\nblocked=true\n')
    with pytest.raises(NotAllowed):
        endpoints.to_write(reference.parse("a.io/n:1"), settings.Settings(namespaces=rules.namespaces))


def test_a_name_that_a_location_leaves_nothing_of_is_told_with_the_file(write: Write) -> None:
    rules = read(write, '[[registry]]\nprefix="a.io/n"\nlocation="b.io"\n')
    with pytest.raises(InvalidValue, match=r"registries\.conf: \[\[registry\]\] of a\.io/n, location b\.io"):
        asked("a.io/n", rules)


# --- which files -----------------------------------------------------------------------------------------------------


def test_drop_ins_come_after_the_file_by_name_the_user_s_last(write: Write) -> None:
    write("etc/registries.conf", '[aliases]\na="h.io/0"\nb="h.io/0"\nc="h.io/0"\nd="h.io/0"\n')
    write("etc/registries.conf.d/20-x.conf", '[aliases]\nb="h.io/20"\nc="h.io/20"\n')
    write("etc/registries.conf.d/10-x.conf", '[aliases]\nb="h.io/10"\n')
    write("etc/registries.conf.d/README", "this is not TOML")
    write("home/registries.conf.d/00-x.conf", '[aliases]\nc="h.io/home"\nd=""\n')
    found = registries_conf.load()
    assert {name: each.full for name, each in found.aliases.items()} == {
        "a": "h.io/0",
        "b": "h.io/20",
        "c": "h.io/home",
        "d": "",
    }
    assert [Path(each).name for each in found.files] == ["registries.conf", "10-x.conf", "20-x.conf", "00-x.conf"]


def test_a_later_registry_of_the_same_prefix_replaces_the_earlier(write: Write) -> None:
    write("etc/registries.conf", '[[registry]]\nlocation="a.io"\nblocked=true\n[[registry]]\nlocation="b.io"\nblocked=true\n')
    write("etc/registries.conf.d/x.conf", '[[registry]]\nprefix="A.io"\nlocation="c.io"\n')
    rules = registries_conf.load()
    assert asked("a.io/n", rules) == ["c.io/n:latest"]
    with pytest.raises(NotAllowed):
        asked("b.io/n", rules)


def test_a_user_with_a_file_of_his_own_has_none_of_the_machine_s(write: Write) -> None:
    write("etc/registries.conf", '[[registry]]\nlocation="a.io"\nblocked=true\n')
    write("etc/registries.conf.d/x.conf", '[[registry]]\nlocation="b.io"\nblocked=true\n')
    write("home/registries.conf", '[[registry]]\nlocation="c.io"\nblocked=true\n')
    assert [each.prefix for each in registries_conf.load().namespaces] == ["c.io"]


def test_the_variable_names_the_file_before_the_drop_ins(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("etc/registries.conf", '[[registry]]\nlocation="a.io"\n')
    write("etc/registries.conf.d/x.conf", '[[registry]]\nlocation="b.io"\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(write("mine", '[[registry]]\nlocation="c.io"\n')))
    assert [each.prefix for each in registries_conf.load().namespaces] == ["c.io", "b.io"]


def test_a_variable_that_names_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "none"))
    with pytest.raises(InvalidValue, match="CONTAINERS_REGISTRIES_CONF"):
        registries_conf.load()


# --- what is not understood ------------------------------------------------------------------------------------------


def test_version_1_is_refused_by_name(write: Write) -> None:
    with pytest.raises(InvalidValue, match="version 1") as caught:
        read(write, "[registries.search]\nregistries = ['registry1.com']\n")
    assert "[[registry]]" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]", "registry = 1", "[[registry]]\nlocaton='a.io'", "[[registry]]\n", "[[registry]]\nlocation='https://a.io'",
        "[[registry]]\nlocation='a.io'\nblocked='yes'", "[[registry]]\nlocation='a.io'\nblock=true", "[[registry]]\nlocation=1",
        "[[registry]]\nprefix='*.a.io'\nlocation='*.b.io'", "[[registry]]\nlocation='a.io:t/x'",
        "[[registry]]\nlocation='a.io'\n[[registry]]\nprefix='A.io'\nlocation='b.io'",
        "[[registry]]\nlocation='a.io'\n[[registry.mirror]]\n", "[[registry]]\nlocation='a.io'\nmirror=['m']",
        "[[registry]]\nlocation='a.io'\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='never'",
        "[[registry]]\nlocation='a.io'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='all'",
        "[aliases]\n'a.io/x'='b.io/x'", "[aliases]\n'x:1'='b.io/x'", "[aliases]\n'x'='y'",
        "[aliases]\n'x'='b.io/x:1'", "[aliases]\nx=1",
        "short-name-mode='sometimes'", "unqualified-search-registries='a.io'",
        "credential-helpers=['secretservice']", "other=1",
        "x=" + "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_the_file(write: Write, text: str) -> None:
    with pytest.raises(InvalidValue, match=r"registries\.conf"):
        read(write, text)


def test_what_decides_nothing_here_may_stand_there(write: Write) -> None:
    text = "short-name-mode='enforcing'\nunqualified-search-registries=['a.io']\ncredential-helpers=['containers-auth.json']\n"
    assert read(write, text).namespaces == ()


def test_a_file_that_is_too_large_is_refused(write: Write) -> None:
    with pytest.raises(InvalidValue, match="larger"):
        read(write, "#" * (1 << 20) + "\n")


def test_a_file_of_nothing_but_aliases_is_passed_over_where_none_is_asked_for(write: Write) -> None:
    write("etc/registries.conf", "# words\n[aliases]\n  # more\nx = 'not parsed\n")
    assert registries_conf.load(with_aliases=False).namespaces == ()
    for text in ("[aliases]\nx='h.io/x'\n[[registry]]\nlocation='a.io'\n", "[[registry]]\nlocation='a.io'\n[aliases]\n"):
        write("etc/registries.conf", text)
        assert [each.prefix for each in registries_conf.load(with_aliases=False).namespaces] == ["a.io"]


# --- beside config.toml ----------------------------------------------------------------------------------------------


def test_config_toml_has_the_last_word(write: Write) -> None:
    write("etc/registries.conf", '[[registry]]\nlocation="a.io"\nblocked=true\n[aliases]\nx="h.io/x"\ny="h.io/y"\n')
    own = write(
        "config.toml",
        '[registries]\nblocked=["b.io/bad"]\n[registries.mirrors]\n"a.io"=["m.lan/a"]\n[registries.aliases]\nx="own.io/x"\n',
    )
    wished = settings.load(str(own))
    assert [str(each.reference) for each in endpoints.to_read(reference.parse("a.io/n"), wished)] == [
        "m.lan/a/n:latest",
        "a.io/n:latest",
    ]
    with pytest.raises(NotAllowed, match=r"config\.toml"):
        endpoints.to_read(reference.parse("b.io/bad/n"), wished)
    assert str(settings.full_name("x:1", str(own))) == "own.io/x:1"
    assert str(settings.full_name(f"y@{DIGEST}", str(own))) == f"h.io/y@{DIGEST}"
    assert [Path(each).name for each in wished.files] == ["registries.conf", "config.toml"]


@pytest.mark.parametrize("name", ["z", "h.io/x", "localhost/x", "localhost:1/x", "deadbeef", ""])
def test_names_without_an_alias_stay(write: Write, name: str) -> None:
    assert settings.full_name(name, str(write("config.toml", '[registries.aliases]\nx="h.io/x"\n'))) is None


@pytest.mark.parametrize(
    "text",
    ["[registries]\nblocked=['https://a.io']", "[registries]\nblocked='a.io'", "[registries.mirrors]\n'a.io'='m'",
     "[registries.mirrors]\n'a.io'=['*.m']", "[registries.aliases]\nx='y'", "[registries]\nblock=['a.io']"],
)  # fmt: skip
def test_what_config_toml_says_wrongly_is_refused(write: Write, text: str) -> None:
    with pytest.raises(InvalidValue, match=r"config\.toml"):
        settings.load(str(write("config.toml", text)))
