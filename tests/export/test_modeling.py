from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from tests.export.exported import asked, both
from tests.small_model import IMAGE, example, frames, head, video
from vxl.data.batch.collate import collate
from vxl.export.body_vxl import VxlModel
from vxl.export.cache_vxl import VxlCache
from vxl.export.configuration_vxl import VxlConfig
from vxl.export.inputs import Row, split, to_tensors
from vxl.export.modeling_vxl import VxlForCausalLM
from vxl.generate import ask, watch
from vxl.kv.h2o import H2OConfig
from vxl.kv.snapkv import SnapKVConfig
from vxl.kv.streaming import StreamingConfig
from vxl.kv.tova import TOVAConfig
from vxl.kv.vst import VSTConfig
from vxl.prefill.chunked import ChunkedConfig
from vxl.selector.query import QueryConfig

MODELS: dict[str, dict[str, Any]] = {
    "full": {},
    "vst": {"kv": VSTConfig(window=16, ratio=2)},
    "selector": {"selector": QueryConfig(keep=0.5)},
    "chunked": {"prefill": ChunkedConfig(groups=2)},
    "snapkv": {"kv": SnapKVConfig(keep=0.3, of="visual", window=2)},
    "h2o": {"kv": H2OConfig(keep=0.5)},
    "tova": {"kv": TOVAConfig(keep=0.4, decode_every=1)},
    "streaming": {"kv": StreamingConfig(tokens=20)},
}
ITEMS, CLIP, QUESTION = (video(5), IMAGE), frames(21), [5, 6, 8]


@pytest.fixture(scope="module")
def pair() -> Any:
    return both()


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_those_of_ask(name: str) -> None:
    ours, theirs = both(**MODELS[name])
    watched, behind = split(head(*ITEMS))
    context = watch(ours, watched, CLIP.split([20, 1]))
    expected = ask(context, [*behind, *QUESTION], max_new_tokens=20).tokens
    inputs = asked((ITEMS, CLIP, QUESTION))
    said = theirs.generate(**inputs, max_new_tokens=20, do_sample=False)
    assert tuple(said[0, inputs["input_ids"].shape[1] :].tolist()) == expected
    assert len(set(expected)) > 3


def test_a_policy_drops_entries_and_the_cache_counts_what_was_fed() -> None:
    _, theirs = both(**MODELS["snapkv"])
    inputs = asked((ITEMS, CLIP, QUESTION))
    cache = theirs(**inputs).past_key_values
    tokens = inputs["input_ids"].shape[1]
    own = cache.rows[0].cache
    assert cache.get_seq_length() == tokens
    assert own.entries() < tokens
    assert int(own.next_B) == tokens  # what stays keeps its position, and so does what comes
    assert own.positions().unique().tolist() != list(range(own.entries()))


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_and_its_gradient_are_those_of_training(name: str) -> None:
    ours, theirs = both(**MODELS[name])
    sample = example(video(3), IMAGE)
    batch = collate([[sample]], 0)
    expected = ours(batch)
    row = Row(sample.encoded, (sample.frames_FCHW[:12], sample.frames_FCHW[12:13]))
    frames_FCHW = torch.cat(row.visuals)
    again = replace(
        batch, frames_FCHW=torch.cat([frames_FCHW[:12], frames_FCHW[12:13].expand(4, -1, -1, -1)])
    )
    expected = ours(again)
    labels = torch.tensor([sample.encoded.labels])
    out = theirs(**to_tensors([row], 0), labels=labels)
    mean = expected.loss_sum / expected.supervised
    assert torch.allclose(out.loss, mean, atol=1e-5)
    mean.backward()
    out.loss.backward()
    for (where, mine), (_, other) in zip(
        theirs.model.parts.named_parameters(), ours.named_parameters(), strict=True
    ):
        assert (mine.grad is None) == (other.grad is None), where
        assert mine.grad is None or torch.allclose(mine.grad, other.grad, atol=1e-4, rtol=1e-4), where


def test_without_a_cache_every_position_has_its_scores(pair: Any) -> None:
    _, theirs = pair
    inputs = asked((ITEMS, CLIP, QUESTION))
    with torch.no_grad():
        whole = theirs(**inputs, use_cache=False)
        cached = theirs(**inputs)
    assert whole.logits.shape[:2] == inputs["input_ids"].shape
    assert whole.past_key_values is None
    behind = cached.logits.shape[1]
    assert behind == len(QUESTION) + 1
    assert torch.allclose(whole.logits[:, -behind:], cached.logits, atol=1e-4)


def test_rows_of_a_padded_batch_are_each_alone(pair: Any) -> None:
    _, theirs = pair
    talks = [(ITEMS, CLIP, QUESTION), ((video(2),), frames(8, 3), [8]), ((), None, [5, 6, 5])]
    inputs = asked(*talks)
    said = theirs.generate(**inputs, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
    for row, talk in enumerate(talks):
        alone = asked(talk)
        assert (
            said[row].tolist()
            == theirs.generate(**alone, max_new_tokens=8)[0, alone["input_ids"].shape[1] :].tolist()
        )


def test_state_belongs_to_the_request(pair: Any) -> None:
    _, theirs = pair
    one, two = asked((ITEMS, CLIP, QUESTION)), asked(((video(2),), frames(8, 3), [8]))
    first = theirs.generate(**one, max_new_tokens=8)
    theirs.generate(**two, max_new_tokens=8)
    with torch.no_grad():
        held = theirs(**one).past_key_values
        theirs(**two)
        other = theirs(**one, past_key_values=VxlCache()).past_key_values
    assert torch.equal(theirs.generate(**one, max_new_tokens=8), first)
    assert held is not other
    assert held.rows[0].cache is not other.rows[0].cache


def test_beams_watch_once_and_go_their_own_ways(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, theirs = pair
    watched = []
    real = VxlModel._watched
    monkeypatch.setattr(VxlModel, "_watched", lambda *a: watched.append(1) or real(*a))
    inputs = asked((ITEMS, CLIP, QUESTION))
    greedy = theirs.generate(**inputs, max_new_tokens=6)
    beams = theirs.generate(**inputs, max_new_tokens=6, num_beams=4, num_return_sequences=3)
    assert watched == [1, 1]
    best, start = beams[0], inputs["input_ids"].shape[1]

    def likelihood(tokens: Any) -> float:
        full = {"input_ids": tokens[None], "attention_mask": torch.ones_like(tokens)[None]}
        more = torch.zeros(1, len(tokens) - start, 7, dtype=torch.int64)
        more[..., 1:3], more[..., 6] = -1, -1
        layout = torch.cat([inputs["layout"], more], dim=1)
        frames_FCHW = inputs["pixel_values_videos"]
        with torch.no_grad():
            out = theirs(**full, layout=layout, pixel_values_videos=frames_FCHW, use_cache=False)
        scores = out.logits[0, start - 1 : -1].log_softmax(-1)
        return float(scores.gather(1, tokens[start:, None]).sum())

    assert likelihood(best) >= likelihood(greedy[0]) - 1e-4
    assert len({tuple(row.tolist()) for row in beams}) == 3


def test_a_second_question_goes_on_behind_the_first(pair: Any) -> None:
    _, theirs = pair
    inputs = asked((ITEMS, CLIP, QUESTION))
    with torch.no_grad():
        out = theirs(**inputs)
        more = torch.tensor([[8, 5, 6]])
        mask = torch.ones(1, inputs["input_ids"].shape[1] + 3, dtype=torch.int64)
        second = theirs(input_ids=more, attention_mask=mask, past_key_values=out.past_key_values)
        once = theirs(**asked((ITEMS, CLIP, [*QUESTION, 8, 5, 6])))
    assert torch.allclose(second.logits[:, -1], once.logits[:, -1], atol=1e-4)
    assert second.past_key_values.get_seq_length() == inputs["input_ids"].shape[1] + 3


def test_what_it_does_not_do_is_refused(pair: Any) -> None:
    _, theirs = pair
    inputs = asked((ITEMS, CLIP, QUESTION))
    with pytest.raises(ValueError, match="output_attentions=True is not supported"):
        theirs(**inputs, output_attentions=True)
    with pytest.raises(ValueError, match="pass all that the processor returned"):
        theirs(**{**inputs, "pixel_values_videos": None})
    with pytest.raises(ValueError, match="a question is missing"):
        theirs(**{name: t[:, :-4] if t.ndim < 4 else t for name, t in inputs.items()})
    with pytest.raises(ValueError, match="inputs_embeds are not supported"):
        theirs(inputs_embeds=torch.zeros(1, 2, 48))
    filled = DynamicCache()
    filled.update(torch.zeros(1, 2, 3, 12), torch.zeros(1, 2, 3, 12), 0)
    with pytest.raises(ValueError, match="makes its own, a VxlCache"):
        theirs(**inputs, past_key_values=filled)
    with torch.no_grad():
        cache = theirs(**inputs).past_key_values
    with pytest.raises(ValueError, match="new visuals behind a cache"):
        theirs(**inputs, past_key_values=cache)
    with pytest.raises(NotImplementedError, match="can't be cropped"):
        cache.crop(-1)


def test_it_is_built_without_memory_and_without_drawing() -> None:
    config = both()[1].config
    with torch.device("meta"):
        outlined = VxlForCausalLM(config)
    assert {tensor.device.type for tensor in outlined.parameters()} == {"meta"}
    assert VxlConfig().parts == {}


def test_an_unprocessed_text_is_a_question(pair: Any) -> None:
    _, theirs = pair
    tokens = torch.tensor([[1, 2, 3, 5]])
    with torch.no_grad():
        out = theirs(input_ids=tokens)
        whole = theirs(input_ids=tokens, use_cache=False)
    assert out.logits.shape[:2] == (1, 4)
    assert torch.allclose(out.logits, whole.logits, atol=1e-4)
