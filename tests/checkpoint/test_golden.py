"""Imported folders give the published code's numbers, from the tower's output (and pixels) to the logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vxl
from tests.checkpoint.published.folders import config_json, publish, weights
from tests.golden import DTYPES, TOLERANCE, error, golden
from tests.golden import video_xl_model as video_xl
from tests.golden.sequences import PLACEHOLDER, golden_sequence
from tests.golden.video_xl_model import CASES
from tests.selector import published as pro
from vxl.checkpoint.convert import import_weights
from vxl.model import VideoLanguageModel
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

dtypes = pytest.mark.parametrize("dtype", DTYPES)
folders = pytest.mark.parametrize("folder", ["published", "vxl"])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Published folders (several shards; .bin) and what `vxl import` makes of them."""
    root = tmp_path_factory.mktemp("folders")
    made: dict[str, dict[str, Path]] = {}
    layouts = (("video_xl_2", 3, "safetensors"), ("video_xl_pro", 2, "bin"), ("video_xl", 2, "safetensors"))
    for name, shards, ending in layouts:
        place = publish(root / name, weights(name), shards=shards, ending=ending, config=config_json(name))
        import_weights(place, root / f"{name}-vxl")
        made[name] = {"published": place, "vxl": root / f"{name}-vxl"}
    return made


def loaded(place: Path, dtype: torch.dtype, *overrides: str) -> VideoLanguageModel:
    return vxl.load(place, device="cpu", dtype=dtype, overrides=overrides).model.requires_grad_(False)


@folders
@dtypes
def test_video_xl_2s_tower(places: dict[str, dict[str, Path]], folder: str, dtype: torch.dtype) -> None:
    recorded = golden("video_xl_2/vision")
    m = loaded(places["video_xl_2"][folder], dtype)
    assert error(m.vision(recorded["frames_uint8"]), recorded["hidden"]) <= TOLERANCE[dtype]


def visual_of(m: VideoLanguageModel, case: int, recorded: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    """Visual tokens from the tower's recorded output, where there is one."""
    files = {0: "stages", 2: "short"}
    if case not in files:
        return recorded["visual_features"].to(dtype)
    hidden_FPV = golden(f"video_xl_2/{files[case]}")["hidden_int8"].to(dtype) / 32
    last = hidden_FPV[-1:].expand(-len(hidden_FPV) % 4, -1, -1)
    visual_GKD = m.compressor(torch.cat([hidden_FPV, last]))
    assert error(visual_GKD, recorded["visual_features"]) <= TOLERANCE[dtype]
    return visual_GKD


@folders
@dtypes
@pytest.mark.parametrize("case", [0, 1, 2, 3])
def test_video_xl_2_from_features_to_logits(
    places: dict[str, dict[str, Path]], folder: str, dtype: torch.dtype, case: int
) -> None:
    recorded, known, tokens_1T = golden_sequence(case)
    m = loaded(places["video_xl_2"][folder], dtype)
    layout = Layout.text(1, tokens_1T.shape[1])
    layout.kind_BT[tokens_1T == PLACEHOLDER] = Kind.VISUAL
    embeds_1TD = m.splice(tokens_1T, visual_of(m, case, recorded, dtype), layout)
    hidden_1TD = m.llm(embeds_1TD, m.llm.step(torch.arange(tokens_1T.shape[1])[None]))
    rows = known["logit_rows"]
    assert error(embeds_1TD[0, rows], recorded["embeds_rows"]) <= TOLERANCE[dtype]
    assert error(m.llm.logits(hidden_1TD[0, rows]), recorded["logits_full"]) <= TOLERANCE[dtype]


@folders
@dtypes
@pytest.mark.parametrize("case", pro.CASES, ids=lambda case: f"case{case['case']}")
def test_video_xl_pro_from_features_to_logits(
    places: dict[str, dict[str, Path]],
    folder: str,
    dtype: torch.dtype,
    case: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vxl.generate import ask, watch

    recorded = golden(f"video_xl_pro/case{case['case']}")
    keep = ("selector.published_random_keep=false", f"selector.keep={case['keep_rate']}")
    m = loaded(places["video_xl_pro"][folder], dtype, *keep)
    features_FPV = recorded["hidden_int8"].to(dtype) / 32
    monkeypatch.setattr(m.vision, "forward", lambda frames, visuals: features_FPV[frames[:, 0, 0, 0].long()])
    said: list[Tensor] = []
    logits = m.llm.logits
    monkeypatch.setattr(m.llm, "logits", lambda hidden: said.append(logits(hidden)) or said[-1])
    context = watch(m, pro.head(case), [pro.frames(case).split(4)])
    ask(context, pro.split(case)[1], max_new_tokens=1)
    assert error(said[0][0], recorded["last_logits"]) <= TOLERANCE[dtype]


@folders
@dtypes
@pytest.mark.parametrize("case", range(len(CASES)))
def test_video_xl_from_features_to_answers(
    places: dict[str, dict[str, Path]], folder: str, dtype: torch.dtype, case: int
) -> None:
    known, recorded = CASES[case], video_xl.recorded(case)
    ratios = known["ratios"]
    settings = [f"kv.window={known['beacon_window']}", f"kv.ratio={ratios[0]}"]
    settings += [f"kv.ratios={ratios}"] if len(ratios) > 1 else []
    m = loaded(places["video_xl"][folder], dtype, *settings)
    _, embeds_1TD, layout = video_xl.sequence(case, m.llm)
    head = known["prefix_len"] + known["visual_len"]
    cache = m.llm.new_cache()
    m.prefill.feed(m.llm, m.policy, cache, Piece(embeds_1TD[:, :head], layout.slice(0, head)))
    m.prefill.finish(m.llm, m.policy, cache)
    logits_TV = m.llm.logits(m.llm.extend(embeds_1TD[:, head:], cache)[0])
    expected = recorded["last_window_logits"]
    assert error(logits_TV[-len(expected) :], expected) <= TOLERANCE[dtype]
    assert int(logits_TV[-1].argmax()) == known["greedy_tokens"][0]
