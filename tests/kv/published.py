"""Bi-level decoding of the recorded cases, as the published code ran it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from tests.golden.sequences import golden_embeds, golden_layout, golden_llm, golden_sequence
from vxl.kv.bilevel import Bilevel, BilevelConfig
from vxl.kv.full import Full, FullConfig
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.relevance.base import QuestionPiece
from vxl.relevance.file import File, FileConfig
from vxl.sequence.piece import Piece


@torch.no_grad()
def levels(case: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every tensor that is recorded of a case's selections, made by us: one context, a fork a selection."""
    recorded, known, ids = golden_sequence(case)
    layout, llm = golden_layout(known, ids), golden_llm(dtype)
    embeds, end = golden_embeds(llm, recorded, ids, layout), known["visual_end"]
    chunked = Chunked(
        ChunkedConfig(groups_per_chunk=known["block_size_groups"], previous_chunks=known["prev_blocks"])
    )
    context = llm.new_cache()
    chunked.feed(llm, Full(FullConfig()), context, Piece(embeds[:, :end], layout.slice(0, end)))
    before = list(context.layers)
    units = {f"film.mp4_{one['key']}": one["selected_units_of_8_frames"] for one in known["selections"]}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "selected.json"
        file.write_text(json.dumps({"any": {"selected_unit_indices": units}}))
        relevance = File(FileConfig(file=str(file)))
    found: dict[str, Tensor] = {}
    for one in known["selections"]:
        policy = Bilevel(BilevelConfig(groups_per_chunk=one["chunk_size_groups"], pool=one["pool"]))
        question = QuestionPiece(
            embeds[:, end:],
            layout.slice(end, ids.shape[1]),
            llm=llm,
            relevance=relevance,
            tokens=(tuple(ids[0, end:].tolist()),),
            texts=(one["key"],),
            names=("film.mp4",),
        )
        cache = context.fork()
        policy.before_question(cache, question)
        assert cache.entries() == one["cache_len_before_suffix"] == int(cache.next_B)
        name = f"case{case}.{one['key']}"
        hidden_1TD = llm.extend(question.embeds_BTD, cache, layout=question.layout)
        found[f"{name}_suffix_logits"] = llm.logits(hidden_1TD)[0]
        picked, blocks = torch.arange(0, cache.entries(1), one["kept_stride"]), cache.layers[1]
        found[f"{name}_k_layer1_head0_unrotated"] = torch.cat([b.keys_BNSH for b in blocks], 2)[0, 0, picked]
        found[f"{name}_v_layer1_head0"] = torch.cat([b.values_BNSH for b in blocks], 2)[0, 0, picked]
        steps = []
        for token in one["forced_tokens"]:
            steps.append(llm.logits(llm.extend(llm.embed(torch.tensor([[token]])), cache))[0, -1])
            policy.after_decode(cache)
        found[f"{name}_forced_step_logits"] = torch.stack(steps)
    assert context.layers == before
    return found
