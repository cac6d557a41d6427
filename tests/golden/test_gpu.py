"""The recorded numbers on a GPU, in full precision: no kernel there may round more than that."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.compressor import test_golden as dts
from tests.golden import TOLERANCE, error, golden
from tests.golden import video_xl_model as video_xl
from tests.golden.sequences import golden_embeds, golden_layout, golden_llm, golden_sequence
from tests.selector import published as pro
from tests.vision import test_golden as tower
from vxl.generate import ask, watch
from vxl.kv.full import Full, FullConfig
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.sequence.piece import Piece

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


@pytest.fixture(autouse=True)
def as_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """`build_model` sees to it; here parts are made alone."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert not torch.backends.cuda.matmul.allow_tf32


@dtypes
def test_tower(dtype: torch.dtype) -> None:
    recorded = golden("video_xl_2/vision")
    hidden_FPV = tower.published(dtype).cuda()(recorded["frames_uint8"].cuda())
    assert error(hidden_FPV, recorded["hidden"]) <= TOLERANCE[dtype]


@dtypes
def test_every_stage_of_the_compressor(dtype: torch.dtype) -> None:
    recorded, compressor = golden("video_xl_2/stages"), dts.published(dtype).cuda()
    patches_FPV = dts.features(recorded, dtype).cuda()
    found = {"visual_features": compressor(patches_FPV)}
    found |= dts.stages_of(compressor, patches_FPV[:4])
    errors = {name: error(value, recorded[name]) for name, value in found.items()}
    assert {name: value for name, value in errors.items() if value > TOLERANCE[dtype]} == {}


@torch.no_grad()
@dtypes
@pytest.mark.parametrize("case", range(4))
def test_video_xl_2_from_visual_tokens_to_logits(case: int, dtype: torch.dtype) -> None:
    recorded, known, ids = golden_sequence(case)
    llm, host = golden_llm(dtype).cuda(), golden_layout(known, ids)
    layout, rows = host.to("cuda"), known["logit_rows"]
    given = {"visual_features": recorded["visual_features"].cuda()}
    embeds_1TD = golden_embeds(llm, given, ids.cuda(), layout)
    whole_1TD = llm(embeds_1TD, llm.step(torch.arange(ids.shape[1], device="cuda")[None]))
    chunked = Chunked(
        ChunkedConfig(groups_per_chunk=known["block_size_groups"], previous_chunks=known["prev_blocks"])
    )
    piece = Piece(embeds_1TD, layout, host=host)
    chunks_1TD = chunked.feed(llm, Full(FullConfig()), llm.new_cache(), piece)
    for name, hidden_1TD in (("logits_full", whole_1TD), ("logits_chunked", chunks_1TD)):
        assert error(llm.logits(hidden_1TD[0, rows]), recorded[name]) <= TOLERANCE[dtype], name


@dtypes
@pytest.mark.parametrize("case", pro.CASES, ids=lambda case: f"case{case['case']}")
def test_video_xl_pro_from_the_towers_output_to_logits(
    case: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = pro.model(case, dtype).cuda()
    m.vision.features_FPV = m.vision.features_FPV.cuda()
    said: list[Tensor] = []
    logits = m.llm.logits
    monkeypatch.setattr(m.llm, "logits", lambda hidden: said.append(logits(hidden)) or said[-1])
    context = watch(m, pro.head(case), [pro.frames(case).split(3)])
    ask(context, pro.split(case)[1], max_new_tokens=1)
    recorded = golden(f"video_xl_pro/case{case['case']}")
    assert error(said[0][0], recorded["last_logits"]) <= TOLERANCE[dtype]


@dtypes
@pytest.mark.parametrize("case", range(len(video_xl.CASES)))
def test_video_xl_from_visual_tokens_to_answers(case: int, dtype: torch.dtype) -> None:
    recorded = video_xl.recorded(case)
    errors = {
        name: error(ours, recorded[name])
        for name, ours in video_xl.answered(case, dtype, device="cuda").items()
    }
    assert {name: value for name, value in errors.items() if value > TOLERANCE[dtype]} == {}
