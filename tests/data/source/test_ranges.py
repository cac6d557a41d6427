"""Byte ranges, and whole files."""

import io
import os
import pickle

import pytest

from vxl.data.source.ranges import FilePart, describe_file, open_range, read_range
from vxl.errors import DataError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(range(256)) * 8)
    return str(path)


def test_ranges_of_a_local_file(file):
    assert read_range(file, 10, 4) == read_range(f"file://{file}", 10, 4) == bytes([10, 11, 12, 13])
    assert describe_file(file)[0] == 2048


def test_ranges_of_a_url():
    import fsspec

    with fsspec.open("memory://folder/f", "wb") as f:
        f.write(b"abcdefgh")
    assert read_range("memory://folder/f", 2, 3) == b"cde"
    assert describe_file("memory://folder/f")[0] == 8
    with pytest.raises(DataError, match="memory://folder/g"):
        read_range("memory://folder/g", 0, 1)


def test_a_short_read_is_an_error_that_says_what_to_do(file):
    with pytest.raises(DataError) as error:
        read_range(file, 2040, 100)
    assert "ends at byte 2048; 100 bytes from 2040 on were expected" in str(error.value)
    assert f"vxl shards index --again {file}" in str(error.value)


def test_a_long_member_is_a_file_to_seek_in(file):
    whole, part = open_range(file, 3, 100), open_range(file, 3, 100, whole=50)
    assert whole == bytes(range(3, 103))
    assert part.read() == whole
    assert (part.seek(-2, io.SEEK_END), part.read()) == (98, bytes([101, 102]))
    assert (part.seek(200), part.read()) == (200, b"")
    assert pickle.loads(pickle.dumps(FilePart(file, 3, 100))).open().read(1) == b"\x03"


def test_a_file_that_was_replaced_is_read_anew(file):
    assert read_range(file, 0, 2) == b"\x00\x01"
    with open(f"{file}.new", "wb") as f:
        f.write(b"new")
    os.replace(f"{file}.new", file)
    assert read_range(file, 0, 3) == b"new"


def test_blocks_of_a_long_member_are_read_once(file, monkeypatch):
    asked = []

    def read(url, offset, size):
        asked.append((offset, size))
        return read_range(url, offset, size)

    monkeypatch.setattr("vxl.data.source.ranges.read_range", read)
    with FilePart(file, 3, 1000).open(block=256) as part:
        for _ in range(2):  # there and back, as a decoder that looks for the index at the end does
            assert (part.seek(990), part.read(10)) == (990, bytes(range(256))[225:235])
            assert (part.seek(0), part.read(4)) == (0, bytes([3, 4, 5, 6]))
    assert asked == [(771, 232), (3, 256)]
