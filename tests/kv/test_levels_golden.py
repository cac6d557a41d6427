"""Bi-level decoding against the published numbers."""

import json
from pathlib import Path

import pytest
import torch

from tests.golden import TOLERANCE, error, golden
from tests.golden.sequences import golden_embeds, golden_layout, golden_llm, golden_sequence
from vxl.kv.bilevel import Bilevel, BilevelConfig
from vxl.kv.full import Full, FullConfig
from vxl.prefill.base import Piece
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.relevance.base import Question
from vxl.relevance.file import File, FileConfig

LEVELS = golden("video_xl_2/levels")
KEEP = Full(FullConfig())


@torch.no_grad()
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", [0, 1, 2, 3])
def test_two_levels_are_the_published_ones(case: int, dtype: torch.dtype, tmp_path: Path) -> None:
    recorded, known, ids = golden_sequence(case)
    layout, llm = golden_layout(known, ids), golden_llm(dtype)
    embeds, end = golden_embeds(llm, recorded, ids, layout), known["visual_end"]
    chunked = Chunked(
        ChunkedConfig(groups_per_chunk=known["block_size_groups"], previous_chunks=known["prev_blocks"])
    )
    context = llm.new_cache()
    chunked.feed(llm, KEEP, context, Piece(embeds[:, :end], layout.slice(0, end)))
    before = list(context.layers)
    lists = tmp_path / "selected.json"
    units = {f"film.mp4_{one['key']}": one["selected_units_of_8_frames"] for one in known["selections"]}
    lists.write_text(json.dumps({"any": {"selected_unit_indices": units}}))
    assert known["selections"]
    for one in known["selections"]:
        policy = Bilevel(BilevelConfig(groups_per_chunk=one["chunk_size_groups"], pool=one["pool"]))
        question = Question(
            embeds[:, end:],
            layout.slice(end, ids.shape[1]),
            llm=llm,
            relevance=File(FileConfig(file=str(lists))),
            tokens=(tuple(ids[0, end:].tolist()),),
            texts=(one["key"],),
            names=("film.mp4",),
        )
        cache = context.fork()
        policy.before_question(cache, question)
        assert cache.entries() == one["cache_len_before_suffix"] == int(cache.next_B)
        suffix = llm.logits(llm.extend(question.embeds_BTD, cache, layout=question.layout))[0]
        got = {"suffix_logits": suffix}
        picked = torch.arange(0, cache.entries(1), one["kept_stride"])
        got["k_layer1_head0_unrotated"] = torch.cat([b.keys_BNSH for b in cache.layers[1]], 2)[0, 0, picked]
        got["v_layer1_head0"] = torch.cat([b.values_BNSH for b in cache.layers[1]], 2)[0, 0, picked]
        steps = []
        for token in one["forced_tokens"]:
            steps.append(llm.logits(llm.extend(llm.embed(torch.tensor([[token]])), cache))[0, -1])
            policy.after_decode(cache)
        got["forced_step_logits"] = torch.stack(steps)
        for name, ours in got.items():
            assert error(ours, LEVELS[f"case{case}.{one['key']}_{name}"]) < TOLERANCE[dtype], name
    assert context.layers == before
