"""From patterns to shards."""

import pytest

from vxl.data.source.urls import expand_urls
from vxl.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for n in (0, 1, 10):
        (tmp_path / f"s-{n:03d}.tar").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_braces_wildcards_and_folders(folder):
    every = [str(folder / f"s-{n:03d}.tar") for n in (0, 1, 10)]
    assert expand_urls(str(folder / "s-{000..001}.tar")) == every[:2]
    assert expand_urls(str(folder / "*.tar")) == expand_urls(str(folder)) == every
    assert expand_urls([every[1], str(folder / "*.tar")]) == [every[1], every[0], every[2]]
    assert expand_urls("s3://bucket/s-{0..1}.tar") == ["s3://bucket/s-0.tar", "s3://bucket/s-1.tar"]
    assert expand_urls("pipe:cat {a,b}.tar") == ["pipe:cat a.tar", "pipe:cat b.tar"]


def test_wildcards_of_a_url():
    import fsspec

    for name in ("b", "a"):
        with fsspec.open(f"memory://shards/{name}.tar", "wb") as f:
            f.write(b"x")
    assert [url.rsplit("/", 1)[-1] for url in expand_urls("memory://shards/*.tar")] == ["a.tar", "b.tar"]


def test_matches_nothing_says_what_is_there(folder):
    with pytest.raises(DataError) as error:
        expand_urls(str(folder / "train" / "*.tar"))
    assert "match nothing" in str(error.value)
    assert f"looked for {folder}/train/*.tar" in str(error.value)
    assert f"{folder} holds notes.txt, s-000.tar, s-001.tar, s-010.tar" in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("s-{000..003}.tar", "2 of the 4 shards"),
        ("s-{000.tar", "a brace without its partner"),
    ],
)
def test_names_that_do_not_exist(folder, pattern, words):
    with pytest.raises(DataError, match=words):
        expand_urls(str(folder / pattern))


def test_no_pattern():
    with pytest.raises(DataError, match="list of shards is empty"):
        expand_urls([])
