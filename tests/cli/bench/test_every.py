"""`vxl bench all` measures every part, and writes what `vxl bench diff` reads. Its numbers are no test."""

from pathlib import Path

import pytest
import torch

from vxl.cli.bench.measurements import read_measurements
from vxl.cli.bench.parts import POLICIES, training_config, watching_config
from vxl.cli.bench.sizes import QUICK, SIZES, size_of
from vxl.cli.main import main
from vxl.model import build_model
from vxl.train.step.micro_batch import longest_rows

ROWS = [
    "decoding frames",
    "vision + compressor",
    *(
        f"{what}, kv={policy}"
        for policy in POLICIES
        for what in ("chunked prefill", "first question", "decoding tokens")
    ),
    "training step, LoRA",
]


@pytest.mark.slow
def test_in_miniature_it_measures_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deeper" / "one.json"
    main(["bench", "all", "--quick", "size=tiny", f"out={out}"])
    shown = capsys.readouterr()
    assert f"written: {out}" in shown.out
    assert shown.err.splitlines() == [f"measured: {name}" for name in ROWS]
    found = read_measurements(out)
    assert [row.name for row in found.rows] == ROWS
    assert (found.size, found.quick) == ("tiny", True)
    assert found.provenance["packages"]["torch"] == torch.__version__
    assert {len(row.seconds) for row in found.rows} == {QUICK["tiny"]["repeats"]}
    work = {row.name: row.work for row in found.rows}
    assert work["decoding frames"] == 4 * QUICK["tiny"]["decoded"]  # of each of four clips
    assert work["vision + compressor"] == QUICK["tiny"]["frames"]
    assert work["decoding tokens, kv=full"] == QUICK["tiny"]["answer"] - 1
    assert work["training step, LoRA"] == 512
    main(["bench", "diff", str(out), str(out)])
    assert f"none of {len(ROWS)} rows became slower" in capsys.readouterr().out


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_a_model_that_watches_and_learns(size: str) -> None:
    for policy in POLICIES:
        model = build_model(watching_config(SIZES[size], policy), device="meta", outlined=True)
        piece = model.prefill.groups * model.compressor.frames_per_group
        for quick in (False, True):
            assert size_of(size, quick=quick).frames % piece == 0, "pieces are whole"
    assert training_config(SIZES[size], 3).llm.lora.rank > 0


def test_the_published_row_of_training_is_three_videos_long_and_has_text_to_learn() -> None:
    batch = longest_rows(training_config(SIZES["published"], 3), 1)
    assert (batch.tokens, batch.frames) == (8192, 3 * 64)
    assert batch.visual_tokens == 3 * 16 * 144  # 4 frames are a group, of 24 x 24 / 4 tokens
    assert batch.supervised == 8192 - 3 * 16 * 144 - 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["size=huge"], "size=huge is none of published, tiny"),
        (["siz=tiny"], "did you mean size?"),
        (["tiny"], "takes no 'tiny'"),
        (["size=tiny", "out=."], "out=. is a folder"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "all", *words])
    assert end.value.code == 2
    assert why in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["bench", "all", "size=tiny", f"out={tmp_path / 'file' / 'one.json'}"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "measured" not in said
    assert "can't be written" in said
    assert "write elsewhere:  out=FILE" in said


def test_a_measurement_that_fails_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vxl.cli.bench.every.measure_all", stopped)
    out = tmp_path / "one.json"
    out.write_text("before")
    with pytest.raises(SystemExit):
        main(["bench", "all", "size=tiny", f"out={out}"])
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
    assert out.read_text() == "before"


def test_the_true_size_needs_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["bench", "all", "--quick"])
    assert "on a CPU:  vxl bench all size=tiny" in capsys.readouterr().err
