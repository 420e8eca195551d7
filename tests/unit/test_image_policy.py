"""policy.json: what is let in, what is rejected, and that nothing is let in that is not understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cratebox.errors import InvalidValue, NotAllowed, Unsupported
from cratebox.image import policy, transport
from cratebox.image.policy import Policy, parse

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
SIGNED = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key.gpg"}]
SIGSTORE = [{"type": "sigstoreSigned", "keyPath": "/key.pub"}]
DIGEST = "sha256:" + "a" * 64


def made(default: object, **transports: object) -> Policy:
    return parse(
        json.dumps({"default": default, "transports": {k.replace("_", "-"): v for k, v in transports.items()}}).encode(), "p"
    )


def lets_in(wanted: Policy, name: str) -> bool:
    try:
        wanted.check(transport.parse(name))
    except NotAllowed:
        return False
    return True


def test_no_file_lets_everything_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(policy, "SYSTEM", str(tmp_path / "none"))
    assert policy.load() == Policy()
    assert lets_in(policy.load(), "alpine")


def test_the_user_s_own_file_stands_for_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    system, own = tmp_path / "system.json", tmp_path / ".config/containers/policy.json"
    monkeypatch.setattr(policy, "SYSTEM", str(system))
    system.write_text(json.dumps({"default": REJECT}))
    assert not lets_in(policy.load(), "alpine")
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"default": ACCEPT}))
    assert lets_in(policy.load(), "alpine")
    assert policy.load().where == str(own)


def test_a_rejection_names_the_image_and_the_file() -> None:
    with pytest.raises(NotAllowed, match="alpine:latest: p rejects it"):
        made(REJECT).check(transport.parse("alpine"))


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("alpine", False), ("docker.io/team/app", True), ("docker.io/team/bad", False), ("docker.io/team/bad:fine", True),
        ("docker.io/teamwork/app", False), (f"docker.io/team/bad:other@{DIGEST}", False), ("x.good.test/app", True),
        ("good.test/app", False), ("x.good.test.evil.test/app", False), ("X.Good.test:5000/app", True),
    ],
)  # fmt: skip
def test_the_closest_scope_decides_alone(name: str, good: bool) -> None:
    wanted = made(
        REJECT,
        docker={
            "docker.io/team": ACCEPT,
            "docker.io/team/bad": REJECT,
            "docker.io/team/bad:fine": ACCEPT,
            "*.good.test": ACCEPT,
        },
    )
    assert lets_in(wanted, name) == good


def test_the_default_of_a_transport_is_before_the_default_of_all() -> None:
    wanted = made(REJECT, docker={"": ACCEPT, "docker.io": REJECT}, oci_archive={"": ACCEPT})
    assert lets_in(wanted, "quay.io/app")
    assert not lets_in(wanted, "alpine")
    assert lets_in(wanted, "oci-archive:/x.tar")
    assert not lets_in(wanted, "docker-archive:/x.tar")


def test_paths_are_scopes_of_layouts(tmp_path: Path) -> None:
    good = tmp_path.resolve() / "good"
    good.mkdir()
    (tmp_path / "bad").symlink_to(good / "inside")
    wanted = made(REJECT, oci={str(good): ACCEPT, f"{good}/bad": REJECT, f"{good}/bad:fine": ACCEPT})
    assert lets_in(wanted, f"oci:{good}/layout:tag")
    assert lets_in(wanted, f"oci:{good}/../good/layout")
    assert lets_in(wanted, f"oci:{tmp_path}/bad")  # what a symlink leads to decides
    assert not lets_in(wanted, f"oci:{good}/bad")
    assert lets_in(wanted, f"oci:{good}/bad:fine")
    assert not lets_in(wanted, f"oci:{good}ness/layout")
    assert not lets_in(wanted, f"oci:{good}/../layout")


def test_a_stream_is_at_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = made(REJECT, oci_archive={str(tmp_path): ACCEPT})
    stream = transport.Source("oci-archive", "standard input")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotAllowed):
        wanted.check(stream)


def test_a_directory_used_as_it_is_is_no_image() -> None:
    assert lets_in(made(REJECT), "rootfs:/")


@pytest.mark.parametrize(
    ("wanted", "kind"), [(SIGNED, "signedBy"), (SIGSTORE, "sigstoreSigned"), (ACCEPT + SIGNED, "signedBy")]
)
def test_a_signature_that_is_asked_for_is_said_not_to_be_there(wanted: object, kind: str) -> None:
    with pytest.raises(Unsupported, match=rf"p wants a signature \({kind}\)"):
        made(wanted).check(transport.parse("alpine"))


def test_every_requirement_of_a_list_must_be_met() -> None:
    assert not lets_in(made(ACCEPT + REJECT), "alpine")


def test_a_signature_elsewhere_is_in_nobody_s_way() -> None:
    assert lets_in(made(ACCEPT, docker={"signed.test": SIGNED}, atomic={"x.test/y:z": SIGNED}, dir={"/x": REJECT}), "alpine")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"transports":{}}', '{"default":[]}', '{"default":{}}', '{"default":[1]}', '{"default":[{}]}',
        '{"default":[{"type":"accept"}]}', '{"default":[{"type":"reject","x":1}]}', '{"default":[{"type":"reject"}],"x":1}',
        '{"default":[{"type":"insecureAcceptAnything"}],"default":[{"type":"reject"}]}',
        '{"default":[{"type":"reject"}],"transports":[]}', '{"default":[{"type":"reject"}],"transports":{"docker":[]}}',
        '{"default":[{"type":"reject"}],"transports":{"docker":{"https://x":[{"type":"reject"}]}}}',
        '{"default":[{"type":"reject"}],"transports":{"docker-archive":{"/x":[{"type":"reject"}]}}}',
        '{"default":[{"type":"reject"}],"transports":{"oci":{"x":[{"type":"reject"}]}}}',
        '{"default":[{"type":"reject"}],"transports":{"oci":{"/":[{"type":"reject"}]}}}', "[" * 100_000, "\udcff",
    ],
)  # fmt: skip
def test_a_policy_that_is_not_wholly_understood_lets_nothing_in(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^p"):
        parse(text.encode(errors="surrogateescape"), "p")


def test_a_policy_that_cannot_be_read_lets_nothing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config/containers/policy.json").mkdir(parents=True)
    with pytest.raises(InvalidValue, match="cannot read"):
        policy.load()
