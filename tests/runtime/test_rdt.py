"""linux.intelRdt: on a machine without it the error names it; what is written where, in a stand-in."""

from __future__ import annotations

import os

import pytest

from cratebox.errors import InvalidValue, NotFound, Unsupported
from cratebox.runtime import rdt
from cratebox.runtime.spec import IntelRdt


@pytest.fixture
def resctrl(tmp_path, monkeypatch):
    """Directories in which the kernel would make files are made with those files."""
    real = os.mkdir

    def mkdir(path, *args):
        real(path, *args)
        for name in ("tasks", "schemata"):
            (tmp_path / os.path.relpath(path, tmp_path) / name).write_text("")
        if "mon_groups" not in str(path):
            real(f"{path}/mon_groups")

    monkeypatch.setattr(rdt.os, "mkdir", mkdir)
    return tmp_path


def written(path):
    return path.read_text()


def test_where_resctrl_is_not_mounted_the_error_names_it(oci):
    try:
        rdt.find()
    except Unsupported:
        pass
    else:
        pytest.skip("this machine has resctrl")
    bundle = oci.bundle("/bin/true")
    bundle.linux["intelRdt"] = {"schemata": ["L3:0=f"]}
    bundle.write()
    said = oci.fails("create", "--bundle", bundle.directory, oci.name())
    assert "linux.intelRdt: no resctrl file system is mounted" in said
    assert oci.left() == []


def test_a_class_without_a_name_is_the_containers_and_goes_with_it(resctrl):
    made = rdt.join(IntelRdt(schemata=("L3:0=f", "MB:0=20")), "box", 7, str(resctrl))
    assert made == (str(resctrl / "box"),)
    assert written(resctrl / "box/schemata") == "L3:0=f\nMB:0=20\n"
    assert written(resctrl / "box/tasks") == "7"


def test_the_older_properties_are_written_together(resctrl):
    wanted = IntelRdt(clos_id="gold", l3_cache_schema="L3:0=f\nMB:0=90", mem_bw_schema="MB:0=20")
    assert rdt.join(wanted, "box", 7, str(resctrl)) == ()
    assert written(resctrl / "gold/schemata") == "L3:0=f\nMB:0=20\n"
    assert written(resctrl / "gold/tasks") == "7"


def test_monitoring_has_a_group_of_its_own(resctrl):
    made = rdt.join(IntelRdt(clos_id="gold", schemata=("L3:0=f",), enable_monitoring=True), "box", 7, str(resctrl))
    assert made == (str(resctrl / "gold/mon_groups/box"),)
    assert written(resctrl / "gold/mon_groups/box/tasks") == written(resctrl / "gold/tasks") == "7"


def test_a_class_that_is_there_must_be_what_the_spec_says(resctrl):
    rdt.join(IntelRdt(clos_id="gold", schemata=("L3:0=f;1=ff",)), "box", 7, str(resctrl))
    (resctrl / "gold/schemata").write_text("    MB:0=100;1=100\n    L3:0=000f;1=00ff\n")
    rdt.join(IntelRdt(clos_id="gold", schemata=("L3:0=f",)), "two", 8, str(resctrl))
    assert written(resctrl / "gold/tasks") == "8"
    with pytest.raises(InvalidValue, match="the class of service gold is there, without 'L3:0=ff'"):
        rdt.join(IntelRdt(clos_id="gold", schemata=("L3:0=ff",)), "three", 9, str(resctrl))
    with pytest.raises(InvalidValue, match="MB:0=20"):
        rdt.join(IntelRdt(clos_id="gold", mem_bw_schema="MB:0=20"), "three", 9, str(resctrl))


def test_a_class_that_is_only_named_must_be_there(resctrl):
    with pytest.raises(NotFound, match="closID 'gold'"):
        rdt.join(IntelRdt(clos_id="gold"), "box", 7, str(resctrl))
    assert os.listdir(resctrl) == []


def test_what_is_gone_already_is_no_error_to_remove(tmp_path):
    (tmp_path / "a").mkdir()
    rdt.remove((str(tmp_path / "a"), str(tmp_path / "b")))
    assert os.listdir(tmp_path) == []


def test_an_update_writes_the_schemata_of_the_class_and_makes_one_where_there_is_none(resctrl):
    rdt.join(IntelRdt(clos_id="gold", schemata=("L3:0=f",)), "box", 7, str(resctrl))
    assert rdt.change(IntelRdt(clos_id="gold", l3_cache_schema="L3:0=3"), "box", 7, str(resctrl)) == ()
    assert written(resctrl / "gold/schemata") == "L3:0=3\n"
    assert rdt.change(IntelRdt(mem_bw_schema="MB:0=20"), "other", 8, str(resctrl)) == (str(resctrl / "other"),)
    assert written(resctrl / "other/schemata") == "MB:0=20\n"
    assert written(resctrl / "other/tasks") == "8"


def test_an_update_without_resctrl_says_so(oci):
    try:
        rdt.find()
    except Unsupported:
        pass
    else:
        pytest.skip("this machine has resctrl")
    name = oci.create(oci.bundle("/bin/true"))
    assert "no resctrl file system is mounted" in oci.fails("update", "--l3-cache-schema", "L3:0=f", name)
