"""The scaling benchmark: rows as long as they say, every kind of row in miniature, and what was recorded."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from vxl.config.compose import compose
from vxl.train.group import Group

FOLDER = Path(__file__).parents[2] / "experiments" / "050_fsdp2_scaling"
RESULTS = json.loads((FOLDER / "results.json").read_text())


@pytest.fixture(scope="module")
def scaling() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "scaling.py"), run_name="scaling"))


@pytest.mark.parametrize("tokens", [2048, 8192])
def test_rows_hold_the_tokens_that_they_are_asked_for(scaling, tokens):
    config = compose("train", scaling.TRUE)
    first, other = (
        scaling.Rows(config, tokens, accumulate=1, group=Group(rank=rank, ranks=2)).batches for rank in (0, 1)
    )
    for (batch,) in [*first, *other]:
        assert batch.tokens == batch.tokens_BT.numel() == tokens
        assert 0.4 < batch.visual_tokens / tokens < 0.55
        assert batch.frames == batch.visual_tokens // 144 * 4
        assert int(batch.layout.document_BT.max()) == max(1, tokens // 4096) - 1
    assert not (first[0][0].tokens_BT == other[0][0].tokens_BT).all()
