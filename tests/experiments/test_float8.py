"""The accuracy of float8: its measures, that the script runs in miniature, and what its numbers promise."""

import json
from pathlib import Path

import pytest
import torch

from tests.experiments.scripts import as_module

FOLDER = Path(__file__).parents[2] / "experiments" / "022_float8"


def test_the_measures_of_known_differences() -> None:
    script = as_module(FOLDER / "accuracy.py")
    exact = {"clip": torch.tensor([[[3.0, 4.0], [4.0, 3.0]]])}
    off = script.of_tower({"clip": torch.tensor([[[3.0, 4.5], [4.0, 3.0]]])}, exact)
    assert off["relative_error"] == pytest.approx(0.5 / 50**0.5)
    assert off["of_the_spread"] == pytest.approx(
        0.5
    )  # patches lie at (-1/2, 1/2) and (1/2, -1/2) of their mean
    scores_TV = torch.tensor([[2.0, 0.0, -2.0], [2.0, 0.0, -2.0]])
    other_TV = torch.tensor([[2.0, 0.0, -2.0], [0.0, 2.0, -2.0]])
    found = script.of_llm({"text": other_TV}, {"text": scores_TV}, {"text": [0, 1]})
    assert found["top1"]["mean"] == 0.5
    assert found["relative_error"] == pytest.approx((8 / 16) ** 0.5)
    likely = torch.tensor([2.0, 0.0, -2.0]).softmax(0)
    assert found["kl"] == pytest.approx(float(2 * (likely[0] - likely[1])) / 2)
    assert found["loss"] == pytest.approx(-float(likely[1].log()))


@pytest.mark.slow
def test_it_runs_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "rows.json"
    words = ["accuracy.py", "--model", "tiny", "--frames", "2", "--tokens", "24", "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    script = as_module(FOLDER / "accuracy.py")
    script.main()
    found = json.loads(out.read_text())
    ways = {row["way"]: row for row in found["ways"]}
    assert list(ways) == list(script.WAYS)
    assert ways["float32"]["tower"]["relative_error"] == ways["float32"]["llm"]["relative_error"] == 0
    assert ways["float32"]["llm"]["top1"]["mean"] == 1
    alone, both = (ways[name]["tower"]["relative_error"] for name in (script.ALONE, "float8 in float32"))
    assert 0.001 < alone < both < 0.2


def test_what_was_measured() -> None:
    found = json.loads((FOLDER / "results.json").read_text())
    ways = {row["way"]: row for row in found["ways"]}
    assert found["model"] == "small"
    for part in ("tower", "llm"):
        bf16, float8 = (ways[name][part]["relative_error"] for name in ("bf16", "float8 in bf16"))
        assert bf16 < float8 < 0.2
    assert ways["bf16"]["llm"]["top1"]["mean"] > ways["float8 in bf16"]["llm"]["top1"]["mean"] > 0.8
