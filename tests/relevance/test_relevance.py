"""What each kind of relevance scores chunks by."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_model import frames, head, model, video
from vxl.errors import ConfigError, DataError
from vxl.generate import ask, watch
from vxl.kv.bilevel import BilevelConfig
from vxl.llm.chunks import Chunks, chunks_of
from vxl.relevance.all import All, AllConfig
from vxl.relevance.attention import Attention, AttentionConfig, mean_attention
from vxl.relevance.base import QuestionPiece, Relevance
from vxl.relevance.file import File, FileConfig, key_of_question
from vxl.relevance.random import Random, RandomConfig
from vxl.relevance.uniform import Uniform, UniformConfig
from vxl.sequence.layout import Layout


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def m() -> Any:
    return model()


def scored(
    m: Any, relevance: Relevance, *texts: str, groups: int = 9, tokens: Any = None
) -> tuple[Any, Chunks]:
    context = watch(m, head(video(groups)), [frames(4 * groups)])
    asked = tokens or [[5, 6]] * max(1, len(texts))
    cache = context.cache.fork(len(asked))
    longest = max(map(len, asked))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in asked])
    valid = torch.arange(longest) < torch.tensor([[len(row)] for row in asked])
    question = QuestionPiece(
        m.llm.embed(ids),
        Layout.text(*ids.shape),
        None if bool(valid.all()) else valid,
        llm=m.llm,
        relevance=relevance,
        tokens=tuple(map(tuple, asked)),
        texts=texts or None,
        names=("clip.mp4",),
    )
    chunks, layers = chunks_of(cache, 2), list(cache.layers)
    scores = relevance.score(question, chunks, cache)
    assert scores.shape == (len(asked), chunks.count)
    assert cache.layers == layers
    return scores, chunks


def test_uniform_is_spread_evenly_for_any_number(m: Any) -> None:
    scores, _ = scored(m, Uniform(UniformConfig()), groups=32)
    order = scores[0].argsort(descending=True).tolist()
    assert order[:4] == [0, 8, 4, 12]  # of 16 chunks
    for count in (2, 4, 8):
        chosen = sorted(order[:count])
        assert {b - a for a, b in pairwise(chosen)} == {16 // count}


def test_random_follows_seed_and_question(m: Any) -> None:
    one, _ = scored(m, Random(RandomConfig()), tokens=[[5, 6], [8]])
    again, _ = scored(m, Random(RandomConfig()), tokens=[[8]])
    other, _ = scored(m, Random(RandomConfig(seed=1)), tokens=[[8]])
    assert torch.equal(one[1:], again)
    assert not torch.equal(one[:1], again)
    assert not torch.equal(other, again)


def test_all_is_sure_of_every_chunk(m: Any) -> None:
    assert bool((scored(m, All(AllConfig()))[0] == float("inf")).all())


def test_attention_is_what_the_question_pays_to_a_chunk(m: Any) -> None:
    """With nothing pooled it is the attention of the plain model, written out."""
    from tests.llm.tiny import reference

    scores, chunks = scored(m, Attention(AttentionConfig(layers=[0, 1], pool=1)))
    encoded = head(video(9))
    tokens = torch.tensor([[*encoded.tokens, 5, 6]])
    visual = m.encode(frames(36))
    embeds = m.llm.embed(tokens)
    places = torch.tensor([[kind == 2 for kind in encoded.kind] + [False, False]])
    embeds = embeds.masked_scatter(places[..., None], visual)
    weights = reference(m.llm)(inputs_embeds=embeds, output_attentions=True).attentions
    past = len(encoded)
    mass = torch.stack([w[0, :, -2:, :past] / w[0, :, -2:, :past].sum(-1, keepdim=True) for w in weights])
    mass = mass.mean(dim=(0, 1, 2)) * places[0, :past]
    expected = torch.stack([mass[chunks.chunk_BS[0] == chunk].sum() for chunk in range(chunks.count)])
    torch.testing.assert_close(scores[0], expected, rtol=1e-4, atol=1e-5)


def test_attention_of_a_batch_is_each_rows(m: Any) -> None:
    asked = [[5, 6], [8], list(range(30, 50))]
    together, _ = scored(m, Attention(AttentionConfig()), tokens=asked)
    for row, tokens in enumerate(asked):
        alone, _ = scored(m, Attention(AttentionConfig()), tokens=[tokens])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-5)
    assert (together[0] - together[2]).abs().max() > 1e-3


def test_attention_counts_in_the_middle_third_of_the_layers() -> None:
    middle = Attention(AttentionConfig())
    assert [middle.chosen(layers) for layers in (1, 2, 3, 6, 28)] == [[0], [0], [1], [2, 3], [*range(9, 18)]]


def test_attention_is_on_entries_that_exist_by_queries_that_exist() -> None:
    generator = torch.Generator().manual_seed(0)
    query_BNQH, key_BNSH = (torch.randn(2, n, s, 8, generator=generator) for n, s in ((4, 3), (2, 5)))
    valid_BS = torch.tensor([[True] * 5, [True, False, True, True, False]])
    real_BQ = torch.tensor([[True] * 3, [True, True, False]])
    found_BS = mean_attention(query_BNQH, key_BNSH, valid_BS, real_BQ)
    for row in range(2):
        there = valid_BS[row].nonzero()[:, 0]
        keys = key_BNSH[row].repeat_interleave(2, dim=0)[:, there]
        weights = (query_BNQH[row][:, real_BQ[row]] @ keys.mT / 8**0.5).softmax(-1)
        torch.testing.assert_close(found_BS[row, there], weights.mean(dim=(0, 1)))
        assert float(found_BS[row].sum()) == pytest.approx(1)


def test_attention_needs_layers_that_exist(m: Any) -> None:
    with pytest.raises(ConfigError, match=r"relevance.layers=\[7\]: the language model has no layer 7"):
        scored(m, Attention(AttentionConfig(layers=[7])))
    with pytest.raises(ConfigError, match="looks at nothing"):
        AttentionConfig(layers=[])


def listed(tmp_path: Path, values: Any, **settings: Any) -> File:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(values))
    return File(FileConfig(file=str(path), **settings))


def test_a_list_decides(m: Any, tmp_path: Path) -> None:
    published = {
        "counting": {"config": {"selected_topk": 2}, "selected_unit_indices": {"clip_How  many?": [1, 99]}},
        "all of it": {"selected_unit_indices": {"clip.mp4_Who?": []}},
        "unknown": None,
    }
    text = "How many?\nA. one\nB. two"
    scores, _ = scored(m, listed(tmp_path, published), text, "Who?")
    inf = float("inf")
    assert scores.tolist() == [[-inf, inf, -inf, -inf, -inf], [inf] * 5]
    plain, _ = scored(m, listed(tmp_path, {"clip.mp4_How many?": [0, 4]}), text)
    assert plain[0].tolist() == [inf, -inf, -inf, -inf, inf]
    assert key_of_question("clip.mp4", text) == "clip.mp4_How many?"


def test_what_is_not_listed_is_an_error(m: Any, tmp_path: Path) -> None:
    values = {"clip.mp4_Who?": [0]}
    with pytest.raises(DataError) as caught:
        scored(m, listed(tmp_path, values), "Why?")
    assert "looked for: 'clip.mp4_Why?' or 'clip_Why?'\n" in str(caught.value)
    assert "type  relevance.published_missing=true" in str(caught.value)
    scores, _ = scored(m, listed(tmp_path, values, published_missing=True), "Why?")
    assert bool((scores == float("inf")).all())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "holds a list"),
        ({"a_b": "x"}, "lists 'x'"),
        ({"a_b": [True]}, r"lists \[True\]"),
        ({"a": {"units": {}}}, "has no selected_unit_indices"),
        ({"a_b  c": [1], "a_b c": [2]}, "has two lists for 'a_b c'"),
    ],
)
def test_lists_that_make_no_sense(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        listed(tmp_path, values)
    with pytest.raises(DataError, match="can't be read"):
        File(FileConfig(file=str(tmp_path / "nothing.json")))
    (tmp_path / "twice.json").write_text('{"a_b": [1], "a_b": [2]}')
    with pytest.raises(DataError, match="has two lists for 'a_b'"):
        File(FileConfig(file=str(tmp_path / "twice.json")))


def test_a_list_is_found_by_what_was_watched(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"clip.mp4_Who?": [1]}))
    kv = BilevelConfig(keep=None, chunks=9, groups_per_chunk=2)
    m = model(kv=kv, relevance=FileConfig(file=str(file)))
    context = watch(m, head(video(9)), [frames(36)], names=["clip.mp4"])
    assert ask(context, [5, 6], texts=["Who?"], max_new_tokens=3).tokens
    with pytest.raises(DataError, match="selects nothing for this question"):
        ask(context, [5, 6], texts=["Where?"], max_new_tokens=3)


@pytest.mark.parametrize(
    ("layers", "counted"), [(1, [0]), (2, [0]), (3, [1]), (6, [2, 3]), (28, range(9, 18))]
)
def test_the_middle_third_of_the_layers_counts(layers: int, counted: Sequence[int]) -> None:
    assert Attention(AttentionConfig()).chosen(layers) == list(counted)
