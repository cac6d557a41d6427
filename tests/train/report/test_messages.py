"""What a run that is finished says to type next."""

import pytest

from vxl.config.compose import compose
from vxl.train.report.messages import next_command

OWN = "next:  python evaluate.py run=a benchmark=json benchmark.json=HELD_OUT.json benchmark.videos=FOLDER"
HELD_OUT = "held-out numbers while it trains:  data.val=…\n"
JSON = ["data=json", "data.json=mine.json", "data.videos=."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ""),  # its evaluation on the clips
        (JSON, HELD_OUT + OWN),
        ([*JSON, "data.val=val.json"], OWN),
        (["data=shards", "data.train=[a.tar]", "data.val=[b.tar]"], OWN),
    ],
)
def test_what_was_trained_on_ones_own_data_is_not_sent_to_the_toy_clips(words: list[str], said: str) -> None:
    assert next_command(compose("train", ["model=tiny", "name=a", *words])) == said


def test_a_reconstruction_goes_on_with_the_projector() -> None:
    said = next_command(compose("train", ["model=tiny", "name=a", "stage=dts_reconstruct", *JSON]))
    assert said.endswith("next:  python train.py model=tiny init_from=a stage=align")
