import pytest

from vxl.config.compose import compose, compose_yaml, quoted


def test_a_sweep_members_name_is_taken_as_it_is_printed() -> None:
    for name in ("plain", "compression-1a2b3c/ratio=4", "compression-1a2b3c/ratio=4,seed=1", "'a/ratio=4'"):
        assert compose("evaluate", [f"run={name}"]).run == name.strip("'")


def test_a_run_to_start_from_may_be_a_sweep_member() -> None:
    config = compose("train", ["init_from=s/ratio=4,seed=1", "weights=runs/s/ratio=4"])
    assert config.init_from == "s/ratio=4,seed=1"
    assert config.weights == "runs/s/ratio=4"


@pytest.mark.parametrize(
    ("word", "whole"),
    [
        ("paths.runs=x/日本/r", "paths.runs='x/日本/r'"),
        ("data.videos=meine Fotos/ä b", "data.videos='meine Fotos/ä b'"),
        ("data.train=[ü/*.tar,b.tar]", "data.train=['ü/*.tar',b.tar]"),
        ("data.sources={a: {json: ü.json, weight: 2}}", "data.sources={a: {json: 'ü.json', weight: 2}}"),
        ("stage=ä,b", "stage='ä',b"),
        ("data.json=clip: ü.json", "data.json='clip: ü.json'"),
        ("data.json='ü.json'", "data.json='ü.json'"),
        ("prompt.system=${ü}", "prompt.system=${ü}"),
        ("data.json=a.json", "data.json=a.json"),
    ],
)
def test_letters_beyond_ascii_need_no_quotes_of_their_own(word: str, whole: str) -> None:
    assert quoted(word) == whole


def test_hydra_reads_what_was_quoted() -> None:
    words = ["data=shards", "data.train=[日本/*.tar,b.tar]", "paths.runs=x/ü/r"]
    composed = compose_yaml("train", [quoted(word) for word in words])
    assert list(composed.data.train) == ["日本/*.tar", "b.tar"]
    assert composed.paths.runs == "x/ü/r"
