"""Contexts on disk, and put aside in another memory."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import vxl
from tests.generate.watched import watched
from tests.small_model import IMAGE, frames, head, model, video
from vxl.errors import CheckpointError
from vxl.generate import Context, ask, ask_all, read_context, save_context, watch
from vxl.kv.bilevel import BilevelConfig
from vxl.kv.snapkv import SnapKVConfig
from vxl.kv.streaming import StreamingConfig
from vxl.kv.vst import VSTConfig
from vxl.llm.cache.host import HostBlock
from vxl.prefill.chunked import ChunkedConfig
from vxl.selector.query import QueryConfig

QUESTIONS = [[5, 6], [8], list(range(30, 50))]
CHUNKED = ChunkedConfig(groups=2, groups_per_chunk=2, previous_chunks=1)
MODELS: dict[str, dict[str, Any]] = {
    "full": {},
    "chunked and two levels": {"prefill": CHUNKED, "kv": BilevelConfig(keep=0.6, groups_per_chunk=1)},
    "streaming": {"kv": StreamingConfig(tokens=12, sinks=2)},
    "heads of their own": {
        "prefill": CHUNKED,
        "kv": SnapKVConfig(keep=0.5, window=2, at="chunks", adaptive=True),
    },
    "summary tokens": {"kv": VSTConfig(ratio=2, groups=2)},
    "four bits on the host": {"kv": SnapKVConfig(keep=0.5, window=2, bits=4, residual=4, offload=True)},
    "summary tokens in eight bits": {"kv": VSTConfig(ratio=2, groups=2, bits=8)},
    "a selector": {"selector": QueryConfig(keep=0.5)},
}


def answers(context: Context) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in ask_all(context, QUESTIONS, max_new_tokens=12)]


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_context_answers_alike(name: str, tmp_path: Path) -> None:
    m = model(**MODELS[name])
    given = [frames(20), frames(1, seed=1), frames(8, seed=2)]
    context = watch(m, head(video(5), IMAGE, video(2)), given, names=["a.mp4", "b.jpg", "c.mp4"])
    save_context(context, tmp_path / "kept")
    again = read_context(tmp_path / "kept", model(**MODELS[name]))
    assert answers(again) == answers(context)
    for fact in ("frames", "visual_tokens", "tokens", "names", "watch_ms"):
        assert getattr(again, fact) == getattr(context, fact)
    assert again.cache_bytes <= context.cache_bytes  # what layers share, they share again
    assert sorted(path.suffix for path in (tmp_path / "kept").iterdir()) == [".json", *[".safetensors"] * 3]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_codes_are_saved_as_codes_and_stay_on_the_host(tmp_path: Path) -> None:
    settings = MODELS["four bits on the host"]
    context = watched(model(**settings))
    save_context(context, tmp_path / "kept")
    again = read_context(tmp_path / "kept", model(**settings))
    assert again.cache_bytes == context.cache_bytes
    for ours, theirs in zip(again.cache.layers[0], context.cache.layers[0], strict=True):
        assert isinstance(ours, HostBlock)
        assert ours.coding == theirs.coding
    assert any(block.coding for block in again.cache.layers[0])
    with pytest.raises(CheckpointError, match=r"give the same kv\.bits"):
        read_context(tmp_path / "kept", model(kv=SnapKVConfig(keep=0.5, window=2)))


def test_a_context_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    m = model()
    save_context(watched(m), tmp_path / "kept")
    other = watched(m, seed=1)
    save_context(other, tmp_path / "kept")
    assert answers(read_context(tmp_path / "kept", m)) == answers(other)
    (tmp_path / "notes").mkdir()
    with pytest.raises(CheckpointError, match="exists and is no saved context"):
        save_context(other, tmp_path / "notes")


def test_policies_that_act_at_questions_share_a_context(tmp_path: Path) -> None:
    context = watched(model())
    save_context(context, tmp_path / "kept")
    two_levels = model(kv=BilevelConfig(keep=0.6, groups_per_chunk=1))
    assert answers(read_context(tmp_path / "kept", two_levels)) == answers(watched(two_levels))
    with pytest.raises(CheckpointError) as caught:
        read_context(tmp_path / "kept", model(kv=StreamingConfig(tokens=12)))
    assert "was watched with kv=full, and this model has kv=streaming kv.tokens=12" in str(caught.value)


def test_a_context_of_another_model_is_refused(tmp_path: Path) -> None:
    m = model()
    save_context(watched(m), tmp_path / "kept")
    other = model()
    with torch.no_grad():
        other.llm.causal_lm.model.layers[1].mlp.up_proj.weight.add_(1e-3)
    for wrong in (other, model().double()):
        with pytest.raises(CheckpointError, match="was watched by another model"):
            read_context(tmp_path / "kept", wrong)
    with pytest.raises(CheckpointError, match="is no saved context"):
        read_context(tmp_path / "nothing", m)


def test_damage_is_found(tmp_path: Path) -> None:
    m, kept = model(), tmp_path / "kept"
    save_context(watched(m), kept)
    whole = (kept / "layer-001.safetensors").read_bytes()
    (kept / "layer-001.safetensors").write_bytes(whole[:200])
    with pytest.raises(CheckpointError, match="kept is damaged"):
        read_context(kept, m)
    (kept / "layer-001.safetensors").write_bytes(whole)
    facts = json.loads((kept / "context.json").read_text())
    del facts["sha256"]  # whoever means harm leaves it out
    for wrong in ({"dataclass": "os.system", "fields": {"command": "true"}}, {"tensor": "t99"}):
        (kept / "context.json").write_text(json.dumps(facts | {"values": wrong}))
        with pytest.raises(CheckpointError, match=r"is no part of a context|is missing"):
            read_context(kept, m)


def test_a_context_put_aside_holds_no_memory_where_it_was() -> None:
    m = model()
    context = watched(m)
    aside = context.to("meta")  # any other device will do to see what goes there
    assert aside.cache.bytes("cpu") == 0
    # Layers share positions, and go on sharing them.
    assert aside.cache.entries(1) == context.cache.entries(1)
    assert context.cache.bytes("cpu") == context.cache.bytes() > 0
    assert len({id(blocks[0].positions_BNS) for blocks in aside.cache.layers}) == 1
    assert context.to("cpu").cache is context.cache
    assert answers(context) == answers(watched(m))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_context_comes_back_for_a_question() -> None:
    m = model().cuda()
    context = watched(m)
    expected, aside = answers(context), context.to("cpu")
    assert aside.cache.bytes("cuda") == 0
    assert aside.cache.layers[0][0].keys_BNSH.is_pinned()
    assert answers(aside) == answers(aside.to("cuda")) == expected


def test_requests_of_several_threads_do_not_see_each_other() -> None:
    m = model(prefill=CHUNKED, kv=BilevelConfig(keep=0.6, groups_per_chunk=1))
    contexts = [watched(m, seed=seed) for seed in (0, 1)]
    jobs = [(context, question) for context in contexts for question in QUESTIONS] * 2
    alone = [ask(context, question, max_new_tokens=12).tokens for context, question in jobs[:6]] * 2
    assert len(set(alone)) == 6

    def job(number: int) -> tuple[int, ...]:
        context, question = jobs[number]
        if number % 4 == 0:  # some watch anew meanwhile
            context = watched(m, seed=contexts.index(context))
        return ask(context, question, max_new_tokens=12).tokens

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(job, range(len(jobs)))) == alone


def test_the_package_reads_them_too() -> None:
    assert vxl.load_context.__doc__


@pytest.mark.parametrize("file", ["context.json", "places.safetensors", "layer-000.safetensors"])
@pytest.mark.parametrize("how", ["removed", "empty", "cut", "flipped"])
def test_a_damaged_context_is_said_to_be(tmp_path: Path, file: str, how: str) -> None:
    m = model()
    save_context(watched(m), tmp_path / "kept")
    path = tmp_path / "kept" / file
    data = bytearray(path.read_bytes())
    if how == "removed":
        path.unlink()
    elif how == "flipped":
        data[-40] ^= 1
        path.write_bytes(bytes(data))
    else:
        path.write_bytes(bytes(data[: 0 if how == "empty" else len(data) // 2]))
    with pytest.raises(CheckpointError, match=r"is damaged|is no saved context"):
        read_context(tmp_path / "kept", m)
