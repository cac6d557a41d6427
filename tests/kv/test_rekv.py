"""Retrieval of whole groups: scores of the authors' code, and layers that retrieve for their own queries."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden.policies.measure import FILES, found
from tests.kv.test_policies import of_256, policy
from tests.small_model import frames, head, model, video
from vxl.compressor.dts import DTSConfig
from vxl.errors import CheckpointError, DataError
from vxl.generate import ask, ask_all, read_context, save_context, watch
from vxl.generate.asking import question_piece
from vxl.kv import rekv
from vxl.kv.rekv import ReKV, means_of, of_runs, similarity
from vxl.kv.scored.columns import columns_of
from vxl.llm.cache import Cache
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Layout


@pytest.mark.parametrize("number", FILES)
def test_scores_and_groups_are_the_authors(number: int) -> None:
    known = found(f"authors_{number}")
    keys = known["rekv.keys"][None]
    at = torch.arange(12).repeat_interleave(8)[None]
    scores = similarity(means_of(keys, at, 12), known["rekv.queries"].mean(dim=1)[None])
    torch.testing.assert_close(scores[0], known["rekv.similarity"], rtol=1e-5, atol=1e-5)
    for name in (name for name in known if name.startswith("rekv.") and name.endswith(".frames")):
        most, run = map(int, name.split(".")[1:3])
        order = of_runs(scores, torch.ones_like(scores, dtype=torch.bool), run).argsort(
            dim=1, descending=True, stable=True
        )
        assert order[0, :most].sort().values.tolist() == known[name].tolist()


@torch.no_grad()
@pytest.mark.parametrize(
    "settings", [{"compact": True}, {"compact": False}, {"local": 40}], ids=["closed", "apart", "window"]
)
def test_every_layer_retrieves_for_the_queries_that_reach_it(settings: dict[str, Any]) -> None:
    """Reading the bare question on what was retrieved gives the queries that it was retrieved for."""
    m = model(kv=policy("rekv", groups=3, **settings), compressor=DTSConfig(ratio=4)).double()
    context = of_256(m)
    ids = torch.tensor([[5, 6, 7, 8]])
    question = QuestionPiece(
        m.llm.embed(ids),
        Layout.text(1, 4),
        llm=m.llm,
        relevance=m.relevance,
        tokens=(tuple(ids[0].tolist()),),
    )
    cache = context.cache.fork()
    m.policy.before_question(cache, question)
    kept = [cache.index(layer)[0, 0].tolist() for layer in range(len(cache.layers))]
    assert [len(own) for own in kept] == [32 + 3 * 16] * 2  # text and time text, and three groups
    assert kept[0] != kept[1]
    again = cache.fork()
    m.llm.extend(question.embeds_BTD, again, observe=4)
    assert again.observed is not None
    for layer, query in enumerate(again.observed.queries):
        position = cache.next_B[:, None] + torch.arange(4)
        mean = cache.rotary.turn(query, -position[:, None]).mean(dim=2)
        assert retrieved(m.policy, context.cache, layer, mean) == kept[layer]


def retrieved(made: ReKV, cache: Cache, layer: int, mean: torch.Tensor) -> list[int]:
    held = made.entries(cache, layer, columns_of(cache), torch.tensor([cache.fed]))
    return made.chosen(held, mean)[0, 0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("scores", "groups"), [([1, 1, 0, 0, 9], [4]), ([1, 5, 0, 0, 2], [0, 1])])
def test_runs_are_retrieved_whole(
    scores: list[float], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for one run of two groups: the last run of five groups is one group."""
    monkeypatch.setattr(rekv, "similarity", lambda means, queries: torch.tensor([scores]).float())
    m = model(kv=policy("rekv", groups=2, run=2))
    context = watch(m, head(video(5)), [frames(20)])
    kept = retrieved(m.policy, context.cache, 0, torch.zeros(1, 1, 1))
    columns = columns_of(context.cache)
    shown = columns.group_BF[0, kept][columns.visual_BF[0, kept]]
    assert sorted(set(shown.tolist())) == groups


WINDOW = {"groups": 3, "local": 40}


def test_a_window_is_watched_once_and_asked_as_often_as_you_like() -> None:
    m = model(kv=policy("rekv", **WINDOW), compressor=DTSConfig(ratio=4))
    context = of_256(m)
    assert context.cache.entries() == 256  # nothing is lost
    questions = [[5, 6, 7], [8], list(range(30, 40))]
    alone = [ask(context, question, max_new_tokens=6).tokens for question in questions]
    assert [answer.tokens for answer in ask_all(context, questions, max_new_tokens=6)] == alone
    whole = of_256(model(kv=policy("rekv", groups=3), compressor=DTSConfig(ratio=4)))
    assert not torch.equal(whole.cache.layers[1][0].keys_BNSH, context.cache.layers[1][0].keys_BNSH)
    full = of_256(model(compressor=DTSConfig(ratio=4)))
    assert torch.equal(whole.cache.layers[1][0].keys_BNSH, full.cache.layers[1][0].keys_BNSH)


def test_what_was_watched_in_a_window_is_for_the_same_window(tmp_path: Path) -> None:
    m = model(kv=policy("rekv", **WINDOW), compressor=DTSConfig(ratio=4))
    context = of_256(m)
    save_context(context, tmp_path / "kept")
    again = read_context(tmp_path / "kept", m)
    assert ask(again, [5, 6], max_new_tokens=6).tokens == ask(context, [5, 6], max_new_tokens=6).tokens
    for other in (policy("rekv", groups=3), policy("rekv", groups=3, local=41), policy("knorm", keep=0.5)):
        with pytest.raises(CheckpointError, match="acts while it watches must be the same"):
            read_context(tmp_path / "kept", model(kv=other, compressor=DTSConfig(ratio=4)))


@pytest.mark.parametrize(
    ("settings", "near"),
    [({"protect": "none"}, True), ({}, False), ({"protect": "none", "compact": False}, False)],
)
def test_no_distance_grows_where_time_text_goes(settings: dict[str, Any], near: bool) -> None:
    """Then a video may be longer than the model was trained for; what is refused is so before it is seen."""
    m = model(kv=policy("rekv", **WINDOW, **settings), compressor=DTSConfig(ratio=4))
    shown: list[torch.Tensor] = []

    def clip() -> Iterator[torch.Tensor]:
        shown.append(frames(56))
        yield shown[0]

    if near:
        context = watch(m, head(video(14), tokens=16), [clip()], most=100)
        assert len(ask(context, [5, 6], max_new_tokens=6).tokens) == 6
        return

    with pytest.raises(DataError, match="256 tokens to read"):
        watch(m, head(video(14), tokens=16), [clip()], most=100)
    assert not shown


def letters(text: str) -> list[int]:
    return Letters().encode(text, add_special_tokens=False)


class Letters:
    """A tokenizer: a letter is a token."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(letter) % 90 for letter in text]


def test_a_question_retrieves_by_its_own_words_and_not_by_the_template() -> None:
    m = model(kv=policy("rekv", groups=2), compressor=DTSConfig(ratio=4))
    context, texts = of_256(m), ["who?", "a longer question", ""]
    template = [[3, *letters(text), 60, 61, 62, 63] for text in texts]

    def retrieved_for(prompts: list[list[int]], texts: list[str] | None) -> list[list[list[int]]]:
        cache = context.cache.fork(len(prompts))
        m.policy.before_question(cache, question_piece(context, prompts, texts))
        rows = [cache.index(n).expand(len(prompts), 1, -1)[:, 0].tolist() for n in range(len(cache.layers))]
        return [[layer[row] for layer in rows] for row in range(len(prompts))]

    unread = retrieved_for(template, texts)  # no tokenizer is known: everything that was given
    m.policy.prepare(Letters())
    assert unread == retrieved_for(template, None)
    alone = [letters(text) or prompt for text, prompt in zip(texts, template, strict=True)]
    assert retrieved_for(template, texts) == retrieved_for(alone, None) != unread
    for row, (prompt, text) in enumerate(zip(template, texts, strict=True)):
        assert retrieved_for([prompt], [text])[0] == retrieved_for(template, texts)[row]


@pytest.mark.parametrize(("bits", "run"), [(8, None), (4, 32)])
def test_groups_that_are_retrieved_together_are_no_runs_of_codes(bits: int, run: int | None) -> None:
    assert policy("rekv", groups=4, run=2, bits=bits).run_of_codes == run
