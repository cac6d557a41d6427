"""Headers of tars: whole ones, and cut ones at every kind of place."""

import gzip
import tarfile

import pytest

from tests.data.media import write
from vxl.data.source.tar import read_contents, split_name
from vxl.errors import DataError


def test_names_split_as_webdataset_splits_them():
    assert split_name("a/b.c/key.0.jpg") == ("a/b.c/key", "0.jpg")
    assert split_name("./key.json") == ("key", "json")


def test_offsets_point_at_the_contents(tmp_path):
    path = write(tmp_path, 3)[0]
    contents = read_contents(str(path))
    assert contents.cut_at is None
    with tarfile.open(path) as tar:
        for group in contents.groups:
            offset, size = group.members["json"]
            assert path.read_bytes()[offset : offset + size] == tar.extractfile(f"{group.key}.json").read()


def test_members_that_do_not_stand_together_are_one_group(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.json", "b.json", "a.txt"):
            tar.addfile(tarfile.TarInfo(name))
    assert {group.key: sorted(group.members) for group in read_contents(str(path)).groups} == {
        "a": ["json", "txt"],
        "b": ["json"],
    }


@pytest.mark.parametrize("last", [600, 1024, 1200, 1536, 2000, 5 * 1024])
def test_cut_anywhere(tmp_path, last):
    """Each member is a header and one or two blocks: cuts in a header, in contents, and between members."""
    path = write(tmp_path, 5)[0]
    path.write_bytes(path.read_bytes()[:last])
    contents = read_contents(str(path))
    assert contents.cut_at is not None
    assert contents.cut_at <= last
    # What is left is whole: its contents lie before the cut, and the member before the cut is not trusted.
    assert all(sum(group.members["json"]) <= last for group in contents.groups)
    assert len(contents.groups) < max(1, last // 1024) + 1


def test_no_tar(tmp_path):
    path = write(tmp_path, 2)[0]
    packed = tmp_path / "p.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "n.tar").write_bytes(b"nonsense" * 200)
    (tmp_path / "e.tar").touch()
    for name, words in (("p.tar.gz", "gunzip"), ("n.tar", "no tar that can be read"), ("e.tar", "is empty")):
        with pytest.raises(DataError, match=words):
            read_contents(str(tmp_path / name))
