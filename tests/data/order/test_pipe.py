"""Pipes: deterministic per reader, resumable, and strict about the number of shards."""

import logging

import pytest
from torch.utils.data import DataLoader

from tests.data.media import image, talk, write
from vxl.data.order.pipe import PipeStream
from vxl.data.sample import BadSample
from vxl.data.source.urls import expand_urls
from vxl.data.write.shards import TarMember, write_shards
from vxl.errors import DataError, LostError
from vxl.patience import pauses_of


def prepare(loaded, seed):
    return loaded.sample.key, seed


def masked(bad):
    return bad


def cost(sample):
    return len(sample.turns[1].text.split())


def stream(urls, **kwargs):
    return PipeStream(urls, cost, prepare, masked, **{"seed": 1, "batch": 2, "bucket": 6, **kwargs})


@pytest.fixture
def urls(tmp_path):
    return [f"pipe:cat {path}" for path in write(tmp_path, 24, shards=4)]


def taken(dataset, count, workers=0):
    loader = iter(DataLoader(dataset, batch_size=None, num_workers=workers))
    return [next(loader) for _ in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("max_tokens", [None, 30])
def test_the_same_again_and_after_resuming(urls, workers, max_tokens):
    options = {"workers": workers, "max_tokens": max_tokens}
    straight = taken(stream(urls, **options), 9, workers)
    assert taken(stream(urls, **options), 9, workers) == straight
    assert [micro.first_row for micro in straight] == list(range(0, 18, 2))
    assert taken(stream(urls, start_row=10, **options), 4, workers) == straight[5:]
    assert taken(stream(urls, seed=2, **options), 9, workers) != straight


def test_readers_have_shards_of_their_own(urls):
    seen = []
    for rank in range(2):
        items = taken(stream(urls, rank=rank, ranks=2), 30)
        seen.append({key for micro in items for row in micro.rows for key, _ in row})
        assert len(seen[-1]) == 12
    assert not seen[0] & seen[1]


def test_too_few_shards(urls):
    with pytest.raises(DataError) as error:
        stream(urls, ranks=2, workers=3)
    assert "too few un-indexed shards: 4 for 6 readers (ranks 2 x workers 3)" in str(error.value)
    assert "data.workers=2\n  or write at least 6 shards" in str(error.value)


def test_says_what_is_not_promised(urls, caplog):
    with caplog.at_level(logging.WARNING):
        stream(urls)
    assert "resuming reads again what was read before" in caplog.text


def test_media_and_bad_members(tmp_path):
    members = [
        TarMember("a", {"jpg": image(), "json": talk()}),
        TarMember("b", {"jpg": image(), "json": {"id": 1}}),
    ]
    path = write_shards(members, tmp_path)[0]
    rows = taken(stream([f"pipe:cat {path}"], bucket=2), 1)[0].rows
    found = {type(example): example for row in rows for example in row}
    assert found[tuple][0] == "a"
    assert (found[BadSample].shard, found[BadSample].key) == (f"pipe:cat {path}", "b")


def test_a_command_that_writes_no_tar(tmp_path):
    with pytest.raises(DataError, match="3 pipes in a row gave no sample"):
        taken(stream(["pipe:echo no tar"]), 1)
    with pytest.raises(DataError, match="3 pipes in a row gave no sample"):
        taken(stream(["pipe:no-such-command 2>/dev/null"]), 1)


def test_a_command_that_fails_is_run_again_and_gives_the_same(tmp_path, caplog):
    """As `curl` on a server that is gone for a while: between samples, within one, and at the very start."""
    paths = write(tmp_path, 12, shards=2)
    straight = taken(stream([f"pipe:cat {path}" for path in paths]), 9)
    (tmp_path / "left").write_text("9")
    script = tmp_path / "flaky.sh"
    script.write_text(
        "left=$(cat $2/left)\n"
        "if [ $left -gt 0 ]; then echo $((left - 1)) > $2/left; head -c $((left * 997)) $1; exit 7; fi\n"
        "cat $1\n"
    )
    urls = [f"pipe:sh {script} {path} {tmp_path}" for path in paths]
    with pauses_of(0.0), caplog.at_level(logging.WARNING):
        assert taken(stream(urls), 9) == straight
    assert (tmp_path / "left").read_text().strip() == "0"
    assert caplog.text.count("the command ended with status 7; try it by itself): waiting for it") == 9
    assert "broke off" not in caplog.text


def test_a_command_that_goes_on_failing(tmp_path):
    with pauses_of(0.01, limit=0.05), pytest.raises(LostError, match="the command ended with status 1"):
        taken(stream(expand_urls(f"pipe:cat {tmp_path}/none.tar 2>/dev/null")), 1)


def test_a_pipe_that_breaks_off_now_and_then(tmp_path, caplog):
    paths = write(tmp_path, 8, shards=2)
    paths[1].write_bytes(paths[1].read_bytes()[:1546])
    micro = taken(stream([f"pipe:cat {path}" for path in paths]), 20)
    keys = {key for item in micro for row in item.rows for key, _ in row}
    assert {"s0000", "s0002", "s0004", "s0006"} <= keys
    assert "broke off" in caplog.text
