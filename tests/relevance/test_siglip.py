"""SigLIP's relevance against transformers' whole SigLIP, with tiny random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from tests.small_model import IMAGE, frames, head, model, video
from vxl.errors import CheckpointError, ConfigError, DataError
from vxl.generate import ask, ask_all, read_context, save_context, watch
from vxl.kv.bilevel import Bilevel, BilevelConfig
from vxl.llm.chunks import chunks_of
from vxl.model import VideoLanguageModel
from vxl.relevance.attention import AttentionConfig
from vxl.relevance.base import QuestionPiece
from vxl.relevance.siglip import SiglipRelevanceConfig
from vxl.selector.query import QueryConfig
from vxl.video.transform import normalise
from vxl.vision.clip import ClipConfig
from vxl.vision.siglip import SiglipConfig as TowerConfig

TEXTS = ("Who runs, and why?", "a red ball " * 40)
TOWER: dict[str, Any] = {"size": 56, "width": 64, "mlp": 96, "heads": 4, "slice": 5}
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
KV = BilevelConfig(keep=None, chunks=1, groups_per_chunk=2)


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole SigLIP of three blocks, laid out like the published one."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("siglip")
    lines = folder / "lines.txt"
    lines.write_text("\n".join(f"who runs to the {word} ball and why" for word in ("red", "blue", "big")))
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines),
        model_prefix=str(folder / "spiece"),
        vocab_size=40,
        hard_vocab_limit=False,
        bos_id=-1,
        minloglevel=2,
    )
    transformers.SiglipTokenizer(str(folder / "spiece.model")).save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.SiglipConfig(
        text_config=SIZES | {"num_hidden_layers": 2, "vocab_size": 40, "max_position_embeddings": 16},
        vision_config=SIZES | {"num_hidden_layers": 3, "image_size": 56, "patch_size": 14},
    )
    whole = transformers.SiglipModel(config).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    whole.save_pretrained(folder)
    return folder


def built(weights: str | Path, layers: int = 2, **changes: Any) -> VideoLanguageModel:
    vision = TowerConfig(**TOWER, layers=layers, weights=str(weights))
    return model(**({"vision": vision, "relevance": SiglipRelevanceConfig(), "kv": KV} | changes))


def scores(m: Any, context: Any, *texts: str) -> Tensor:
    from vxl.sequence.layout import Layout

    asked = torch.full((len(texts), 2), 5)
    question = QuestionPiece(
        m.llm.embed(asked),
        Layout.text(len(texts), 2),
        llm=m.llm,
        relevance=m.relevance,
        tokens=((5, 5),) * len(texts),
        texts=texts,
        seen=context.seen,
    )
    cache = context.cache.fork(len(texts))
    return m.relevance.score(question, chunks_of(cache, 2), cache)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_scores_are_those_of_the_whole_siglip(published: Path, layers: int, pool: Any) -> None:
    """Wherever the tower stops, and though the video comes in pieces with its last group filled up."""
    whole = transformers.SiglipModel.from_pretrained(published).eval()
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(published)
    m = built(published, layers, relevance=SiglipRelevanceConfig(pool=pool))
    shown, picture = frames(18), frames(1, seed=1)
    context = watch(m, head(video(5), IMAGE), [shown.split(5), picture])
    every = torch.cat([shown, shown[-1:].expand(2, -1, -1, -1), picture.expand(4, -1, -1, -1)])
    tokens = tokenizer(list(TEXTS), padding="max_length", max_length=16, truncation=True, return_tensors="pt")
    expected = whole(input_ids=tokens.input_ids, pixel_values=normalise(every, m.vision.pixels))
    assert context.seen is not None
    kept_FE = context.seen.frames_GFE.flatten(0, 1)
    torch.testing.assert_close(kept_FE, expected.image_embeds, rtol=1e-4, atol=1e-5)
    cosines = (expected.text_embeds @ expected.image_embeds.T).split([8, 8, 4, 4], dim=1)
    expected_BC = torch.stack([c.amax(1) if pool == "max" else c.mean(1) for c in cosines], dim=1)
    found = scores(m, context, *TEXTS)
    torch.testing.assert_close(found, expected_BC, rtol=1e-4, atol=1e-5)
    assert found.std(dim=1).min() > 1e-3
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_the_question_chooses_the_chunk(published: Path) -> None:
    """The answer is the one with the chunk of the highest score in full, whatever else was asked with it."""
    m = built(published)
    context = watch(m, head(video(9)), [frames(36)])
    together = ask_all(context, [[5, 6], [8]], texts=TEXTS, max_new_tokens=9)
    for row, question in enumerate(([5, 6], [8])):
        alone = ask(context, question, texts=[TEXTS[row]], max_new_tokens=9)
        assert alone.tokens == together[row].tokens
    asked = scores(m, context, *TEXTS)
    assert isinstance(m.policy, Bilevel)
    held_B = torch.tensor([context.cache.entries()])
    choice = m.policy.choose(chunks_of(context.cache, 2), asked, held_B, held_B)
    assert choice[:, 1:-1].int().argmax(1).tolist() == asked[:, 1:-1].argmax(1).tolist()


@pytest.mark.parametrize("changes", [{}, {"selector": QueryConfig(keep=0.5)}])
def test_random_weights_need_no_files(changes: dict[str, Any], tmp_path: Path) -> None:
    m = built("random", **changes)
    context = watch(m, head(video(9)), [frames(36)])
    expected = ask(context, [5, 6], texts=["Wer läuft?"], max_new_tokens=9).tokens
    save_context(context, tmp_path / "kept")
    again = read_context(tmp_path / "kept", built("random", **changes))
    assert ask(again, [5, 6], texts=["Wer läuft?"], max_new_tokens=9).tokens == expected
    assert context.seen is not None
    assert again.seen is not None
    assert torch.equal(again.seen.frames_GFE, context.seen.frames_GFE)
    assert context.cache_bytes - context.seen.bytes() >= context.cache.used_bytes()
    aside = context.to("meta").seen
    assert aside is not None
    assert aside.frames_GFE.is_meta
    if not changes:
        seen = scores(m, context, "Wer läuft?", "Who?")
        assert (seen[0] - seen[1]).abs().max() > 1e-4
    assert not any("relevance" in name for name in m.state_dict())


def test_what_others_watched_is_refused(published: Path, tmp_path: Path) -> None:
    plain = watch(built(published, relevance=AttentionConfig()), head(video(9)), [frames(36)])
    assert plain.seen is None
    save_context(plain, tmp_path / "kept")
    with pytest.raises(DataError, match="they were watched with another relevance"):
        ask(read_context(tmp_path / "kept", built(published)), [5, 6], texts=["Who?"])
    m = built(published, relevance=SiglipRelevanceConfig(weights="random"))
    save_context(watch(m, head(video(9)), [frames(36)]), tmp_path / "kept")
    with pytest.raises(DataError, match=r"watched with relevance=siglip relevance\.weights=random"):
        ask(read_context(tmp_path / "kept", built(published)), [5, 6], texts=["Who?"])
    with pytest.raises(DataError, match="reads a question's text"):
        ask(watch(m, head(video(9)), [frames(36)]), [5, 6])


def test_text_alone_asks_nothing_of_siglip(published: Path) -> None:
    m = built(published)
    assert ask(watch(m, head()), [5, 6], texts=["Who?"], max_new_tokens=3).tokens


def test_another_tower_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        model(
            relevance=SiglipRelevanceConfig(), vision=ClipConfig(size=56, width=64, mlp=96, heads=4, layers=1)
        )
    assert str(caught.value).startswith("relevance=siglip goes on from the output of SigLIP's tower; ")
    assert "vision=siglip_so400m" in str(caught.value)


def test_other_checkpoints_are_refused(published: Path, tmp_path: Path) -> None:
    def watching(weights: Path | str, layers: int = 2) -> None:
        m = built("random", layers, relevance=SiglipRelevanceConfig(weights=str(weights)))
        context = watch(m, head(video(9)), [frames(36)])
        ask(context, [5, 6], texts=["Who?"])

    watching(published)
    with pytest.raises(CheckpointError, match="does not go on from the tower"):
        watching(published, layers=4)
    with pytest.raises(CheckpointError, match=r"relevance.weights=.*nothing is no checkpoint"):
        watching(tmp_path / "nothing")
    whole = transformers.SiglipModel.from_pretrained(published)
    whole.vision_model.save_pretrained(tmp_path / "vision")
    with pytest.raises(CheckpointError, match="holds a siglip_vision_model"):
        watching(tmp_path / "vision")
    whole.save_pretrained(tmp_path / "wordless")
    with pytest.raises(CheckpointError, match="has no text tower with a tokenizer"):
        watching(tmp_path / "wordless")
