from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small import IMAGE, frames, head, model, video
from vxl.data.encoded import Encoded, Item
from vxl.errors import DataError
from vxl.generate import Chooser, Context, Sampling, ask, ask_all, layout_of, pieces, watch
from vxl.kv.streaming import StreamingConfig
from vxl.prefill.full import FullConfig


@pytest.fixture(scope="module")
def m() -> Any:
    return model()


CLIP = frames(18)
"""Four and a half groups."""


def watched(m: Any, *, by: int = 5, seed: int = 0) -> Context:
    return watch(m, head(video(5)), [frames(18, seed).split(by)])


@torch.no_grad()
def recomputed(m: Any, encoded: Encoded, frames_FCHW: Tensor, question: list[int], count: int) -> list[int]:
    """Greedy tokens where every step runs the whole sequence anew."""
    visual = m.encode(frames_FCHW) if len(frames_FCHW) else None
    said: list[int] = []
    for _ in range(count):
        full = Encoded(**{name: list(value) for name, value in vars(encoded).items() if name != "answer_at"})
        full.text([*question, *said])
        embeds = m.splice(torch.tensor([full.tokens]), visual, layout_of(full))
        hidden = m.llm(embeds, m.llm.step(torch.arange(len(full))[None]))
        said.append(int(m.llm.logits(hidden[0, -1]).argmax()))
    return said


def test_greedy_tokens_are_those_of_a_recomputation(m: Any) -> None:
    padded = torch.cat([CLIP, CLIP[-1:], CLIP[-1:]])
    question = [5, 6, 8]
    expected = recomputed(m, head(video(5)), padded, question, 40)
    answer = ask(watched(m), question, max_new_tokens=40)
    assert list(answer.tokens) == expected
    assert len(set(expected)) > 8  # no trivial loop
    assert not answer.stopped


@pytest.mark.parametrize("by", [1, 3, 18])
@pytest.mark.parametrize("groups", [1, 3, 16])
def test_pieces_of_any_size_change_nothing(m: Any, by: int, groups: int) -> None:
    expected = ask(watched(m), [5, 6], max_new_tokens=20).tokens
    other = model(prefill=FullConfig(groups=groups))
    assert ask(watched(other, by=by), [5, 6], max_new_tokens=20).tokens == expected


def test_single_frames_and_generators_are_taken(m: Any) -> None:
    expected = ask(watched(m), [5, 6], max_new_tokens=20).tokens
    context = watch(m, head(video(5)), [(frame for frame in CLIP)])
    assert ask(context, [5, 6], max_new_tokens=20).tokens == expected
    assert (context.frames, context.visual_tokens, context.tokens) == (20, 20, len(head(video(5))))


def test_frames_are_taken_as_they_are_needed(m: Any) -> None:
    seen: list[tuple[str, int]] = []

    def stream() -> Any:
        for number, frame in enumerate(CLIP):
            seen.append(("frame", number))
            yield frame

    watch(m, head(video(5)), [stream()], on_piece=lambda done, total: seen.append((f"of {total}", done)))
    marks = [(number, event) for number, event in enumerate(seen) if event[0] == "of 5"]
    assert [event[1] for _, event in marks] == [2, 4, 5]
    assert seen[marks[0][0] - 1] == ("frame", 7)  # two groups of four, and no frame more
    assert seen[marks[1][0] - 1] == ("frame", 15)


def test_images_several_visuals_and_text_alone(m: Any) -> None:
    image, other = frames(1, seed=3), frames(6, seed=4)
    items: list[Item] = [IMAGE, video(2)]
    both = torch.cat([image.expand(4, -1, -1, -1), other, other[-1:], other[-1:]])
    context = watch(m, head(*items), [image, other])
    assert list(ask(context, [5], max_new_tokens=12).tokens) == recomputed(m, head(*items), both, [5], 12)
    text = ask(watch(m, head()), [5, 6], max_new_tokens=12)
    assert list(text.tokens) == recomputed(m, head(), CLIP[:0], [5, 6], 12)


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


def test_draws_have_the_right_frequencies() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3)
    drawn = Chooser(Sampling(temperature=1.0), 4000)(logits)
    assert torch.allclose(drawn.bincount(minlength=3) / 4000, torch.tensor([0.5, 0.3, 0.2]), atol=0.03)
    cut = Chooser(Sampling(temperature=1.0, top_p=0.7), 4000)(logits)
    assert torch.allclose(cut.bincount(minlength=3) / 4000, torch.tensor([0.625, 0.375, 0.0]), atol=0.03)


def test_costs_are_told(m: Any) -> None:
    context = watched(m)
    answer = ask(context, [5, 6], max_new_tokens=9)
    assert 0 < context.prefill_ms < context.watch_ms
    assert min(answer.prefill_ms, answer.decode_ms) > 0
    assert answer.decode_tokens_per_s == pytest.approx(8000 / answer.decode_ms)
    assert answer.cache_bytes > context.cache_bytes == context.cache.bytes()
    assert (answer.peak_bytes is None) == (m.device.type == "cpu")


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


@pytest.mark.parametrize("count", [0, 15, 16, 21, 30])
def test_frames_that_do_not_fit_their_place(m: Any, count: int) -> None:
    with pytest.raises(DataError, match="expected: 17 to 20 frames"):
        watch(m, head(video(5)), [frames(count).split(3)])


def test_visuals_that_the_prompt_does_not_show(m: Any) -> None:
    with pytest.raises(DataError, match="the prompt shows 1 visuals, but 2 were given"):
        watch(m, head(video(5)), [CLIP, CLIP])


@pytest.mark.parametrize(("questions", "count"), [([], 4), ([[]], 4), ([[5]], 0)])
def test_nothing_to_answer(m: Any, questions: list[list[int]], count: int) -> None:
    with pytest.raises(DataError, match="nothing to answer"):
        ask_all(watched(m), questions, max_new_tokens=count)


def test_pieces_cover_the_head_and_end_at_groups() -> None:
    encoded = head(video(5), IMAGE, video(1))
    found = list(pieces(encoded, 2))
    assert [part[:2] for part in found] == [
        (a, b) for a, b in zip([0] + [p[1] for p in found], [p[1] for p in found], strict=False)
    ]
    assert found[-1][1] == len(encoded)
    assert [part[2:] for part in found if part[3]] == [(0, 2), (0, 2), (0, 1), (1, 1), (2, 1)]
