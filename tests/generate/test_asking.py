from typing import Any

import pytest
import torch

from tests.generate.watched import CLIP, recomputed, watched
from tests.small_model import head, model, video
from vxl.errors import DataError
from vxl.generate import Sampling, ask, ask_all
from vxl.kv.streaming import StreamingConfig


@pytest.fixture(scope="module")
def m() -> Any:
    return model()


def test_greedy_tokens_are_those_of_a_recomputation(m: Any) -> None:
    padded = torch.cat([CLIP, CLIP[-1:], CLIP[-1:]])
    question = [5, 6, 8]
    expected = recomputed(m, head(video(5)), padded, question, 40)
    answer = ask(watched(m), question, max_new_tokens=40)
    assert list(answer.tokens) == expected
    assert len(set(expected)) > 8  # no trivial loop
    assert not answer.stopped


def test_nothing_leaks_from_one_request_to_the_next(m: Any) -> None:
    one, two = watched(m), watched(m, seed=1)
    questions = [[5, 6], [8], [6, 6, 6, 40, 41]]
    fresh = [[ask(watched(m, seed=s), q, max_new_tokens=15).tokens for q in questions] for s in (0, 1)]
    layers, held, fed = list(one.cache.layers), one.cache_bytes, one.cache.fed
    for _ in range(2):  # in turns, the same questions again
        for number, question in enumerate(questions):
            assert ask(one, question, max_new_tokens=15).tokens == fresh[0][number]
            assert ask(two, question, max_new_tokens=15).tokens == fresh[1][number]
    assert (one.cache.layers, one.cache_bytes, one.cache.fed) == (layers, held, fed)
    assert fresh[0] != fresh[1]  # the video matters


def test_a_batch_of_questions_is_each_alone(m: Any) -> None:
    context = watched(m)
    questions = [[5, 6], [8], list(range(30, 50))]
    alone = [ask(context, question, max_new_tokens=25) for question in questions]
    stop = alone[1].tokens[6]  # ends some answers early
    single = [ask(context, question, max_new_tokens=25, stop=[stop]) for question in questions]
    batch = ask_all(context, questions, max_new_tokens=25, stop=[stop])
    assert [answer.tokens for answer in batch] == [answer.tokens for answer in single]
    assert [answer.stopped for answer in batch] == [answer.stopped for answer in single]
    assert single[1].stopped
    assert stop not in single[1].tokens


def test_tokens_are_told_as_they_come(m: Any) -> None:
    told: list[tuple[int, int]] = []
    answers = ask_all(
        watched(m), [[5], [6]], max_new_tokens=6, on_token=lambda row, token: told.append((row, token))
    )
    for row, answer in enumerate(answers):
        assert tuple(token for r, token in told if r == row) == answer.tokens
    assert [row for row, _ in told] == [0, 1] * 6


def test_sampling_follows_its_seed(m: Any) -> None:
    context = watched(m)

    def draw(seed: int, temperature: float = 3.0, top_p: float = 1.0) -> tuple[int, ...]:
        return ask(context, [5], max_new_tokens=20, sampling=Sampling(temperature, top_p, seed)).tokens

    greedy = ask(context, [5], max_new_tokens=20).tokens
    assert draw(0) == draw(0) != draw(1)
    assert draw(0, top_p=0.0) == draw(7, temperature=1e-4) == greedy
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw(3)
    assert torch.equal(torch.get_rng_state(), before)
    rows = ask_all(context, [[5], [5]], max_new_tokens=20, sampling=Sampling(3.0, 1.0, 4))
    assert [answer.tokens for answer in rows] == [draw(4), draw(5)]


def test_costs_are_told(m: Any) -> None:
    context = watched(m)
    answer = ask(context, [5, 6], max_new_tokens=9)
    assert 0 < context.prefill_ms < context.watch_ms
    assert min(answer.prefill_ms, answer.decode_ms) > 0
    assert answer.decode_tokens_per_s == pytest.approx(8000 / answer.decode_ms)
    assert answer.cache_bytes > context.cache_bytes == context.cache.used_bytes() < context.cache.bytes()
    assert answer.cache_room_bytes > 0
    assert (answer.peak_bytes is None) == (m.device.type == "cpu")


def test_cache_counts_entries_and_room_apart(m: Any) -> None:
    """A token more is the same number of bytes more, where the room of the longer one is smaller, too."""
    context = watched(m)
    of = {n: ask(context, [5, 6], max_new_tokens=n) for n in (2, 9, 16)}
    assert of[9].cache_bytes - of[2].cache_bytes == of[16].cache_bytes - of[9].cache_bytes > 0
    assert of[2].cache_room_bytes > of[9].cache_room_bytes > of[16].cache_room_bytes
    a_token = (of[9].cache_bytes - of[2].cache_bytes) // 7
    config = m.llm.causal_lm.config
    head = config.hidden_size // config.num_attention_heads
    kept = 3 if context.cache.memo else 2  # keys, values, and rotated keys
    numbers = kept * m.llm.layers * config.num_key_value_heads * head
    assert a_token == numbers * next(m.parameters()).element_size() + 16  # its position and index


def test_a_tokenizer_gives_the_text(m: Any) -> None:
    class Words:
        def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
            assert skip_special_tokens
            return " " + " ".join(map(str, tokens))

    answer = ask(watched(m), [5, 6], max_new_tokens=3, tokenizer=Words())
    assert answer.text == " ".join(map(str, answer.tokens))


def test_a_policy_is_obeyed_in_watching_and_answering() -> None:
    small = model(kv=StreamingConfig(tokens=12, sinks=2))
    context = watched(small)
    assert context.cache.entries() == 12
    roomy = model(kv=StreamingConfig(tokens=1000))
    full = ask(watched(model()), [5, 6], max_new_tokens=20)
    assert ask(watched(roomy), [5, 6], max_new_tokens=20).tokens == full.tokens
    assert ask(context, [5, 6], max_new_tokens=20).tokens != full.tokens


@pytest.mark.parametrize(("questions", "count"), [([], 4), ([[]], 4), ([[5]], 0)])
def test_nothing_to_answer(m: Any, questions: list[list[int]], count: int) -> None:
    with pytest.raises(DataError, match="nothing to answer"):
        ask_all(watched(m), questions, max_new_tokens=count)
