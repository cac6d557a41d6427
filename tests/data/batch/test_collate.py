"""Rows of examples as tensors."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.data.talking import learned, prompt, tokenizer
from vxl.data.batch.collate import Example, collate, joined_frames
from vxl.data.batch.encoded import Shown
from vxl.data.batch.examples import without_labels
from vxl.data.sample import BadSample, Question, Sample, Turn

PAD = tokenizer().pad_token_id


def example(key: str, groups: int = 0, *, answer: str | None = None, words: int = 1) -> Example:
    """A video of some groups, or text; a question if an answer is given."""
    visual = "<image>\n" * bool(groups)
    question = None if answer is None else Question("What is it?" * words, ("a", "b", "c", "d"), answer)
    turns = () if question else (Turn("user", f"{visual}What is it?" * words), Turn("assistant", "A cat."))
    shown = [Shown("video", tuple(range(4 * groups)))] if groups else []
    from vxl.data.sample import Visual

    visuals = (Visual("video", "v.mp4"),) * bool(groups)
    encoded = prompt().training(Sample(key, turns, visuals, question), shown)
    frames = torch.full((4 * groups, 3, 2, 2), int(key), dtype=torch.uint8)
    letters = tuple(prompt().letters(4)) if question else ()
    return Example(encoded, frames, key, question, letters)


def test_rows_are_padded_on_the_right():
    long, short = example("1", 2), example("2")
    batch = collate([[short], [long]], PAD)
    assert batch.tokens_BT.shape == (2, len(long.encoded))
    assert batch.tokens_BT[0].tolist() == short.encoded.tokens + [PAD] * (
        len(long.encoded) - len(short.encoded)
    )
    assert batch.layout.document_BT[0].tolist() == [0] * len(short.encoded) + [-1] * (
        len(long.encoded) - len(short.encoded)
    )
    assert (batch.labels_BT[0, len(short.encoded) :] == -100).all()
    assert batch.tokens == len(short.encoded) + len(long.encoded)


def test_packed_documents_have_their_own_positions_and_numbers():
    first, second = example("1", 2), example("2", 1)
    batch = collate([[first, second]], PAD)
    a, b = len(first.encoded), len(second.encoded)
    assert batch.positions_BT[0].tolist() == [*range(a), *range(b)]
    assert batch.layout.document_BT[0].tolist() == [0] * a + [1] * b
    groups = batch.layout.group_BT[0]
    assert groups[:a].max() == 1
    assert set(groups[a:].tolist()) == {-1, 2}
    assert set(batch.layout.item_BT[0, a:].tolist()) == {-1, 1}


def test_packing_changes_no_label():
    examples = [example("1", 1), example("2")]
    packed = collate([examples], PAD)
    apart = collate([[one] for one in examples], PAD)
    assert packed.supervised == apart.supervised == sum(len(learned(one.encoded)) for one in examples)


def test_frames_and_items_go_row_after_row():
    batch = collate([[example("1", 1), example("2")], [example("3", 2)]], PAD)
    assert batch.frames_FCHW[:, 0, 0, 0].tolist() == [1] * 4 + [3] * 8
    assert [item.groups for item in batch.items] == [1, 2]
    assert batch.visual_tokens == int(batch.layout.visual_BT.sum()) == 3 * 2
    assert batch.keys == ["1", "2", "3"]


def test_text_alone_has_no_frames():
    batch = collate([[example("1")]], PAD)
    assert batch.frames_FCHW.shape == (0, 3, 2, 2)
    assert batch.items == []


def test_the_first_token_of_a_document_is_never_supervised():
    one, two = example("1"), example("2")
    for encoded in (one.encoded, two.encoded):
        encoded.labels[0] = encoded.tokens[0]  # as with published_supervised_special
    batch = collate([[one, two]], PAD)
    assert batch.labels_BT[0, 0] == -100
    assert batch.labels_BT[0, len(one.encoded)] == -100


def test_questions_are_found_among_the_supervised_tokens():
    rows = [[example("1", 1), example("2", answer="C")], [example("3", 2, answer="B", words=3), example("4")]]
    batch = collate(rows, PAD)
    target_BT = batch.labels_BT[:, 1:]
    labels_S = target_BT[target_BT != -100]
    letters = [tokenizer().decode([int(labels_S[at])]) for at in batch.answer_at_Q]
    assert letters == ["C", "B"]
    assert batch.answer_Q == [2, 1]
    assert batch.keys_Q == ["2", "3"]
    assert batch.letters_Q == [prompt().letters(4)] * 2
    assert batch.supervised == len(labels_S)


def test_a_filling_counts_for_nothing():
    batch = collate([[example("1", answer="A")], [without_labels(example("2", 1, answer="B"))]], PAD)
    assert batch.supervised == 2
    assert batch.keys_Q == batch.keys == ["1"]
    assert len(batch.items) == 1  # it still goes through the model, as on the other ranks


def test_bad_samples_are_reported():
    bad = BadSample("a.tar", "x", "no frames", "media")
    one = example("1")
    masked = without_labels(Example(one.encoded, one.frames_FCHW, "x", bad=bad))
    assert collate([[one], [masked]], PAD).bad == [bad]


def test_moving_a_batch_moves_its_tensors():
    moved = collate([[example("1", 1)]], PAD).to("meta")
    assert (
        moved.tokens_BT.device.type
        == moved.frames_FCHW.device.type
        == moved.layout.kind_BT.device.type
        == "meta"
    )
    assert moved.keys == ["1"]


def test_frames_of_a_card_take_the_others_there_and_are_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    one, text, image = example("1", 2), example("2"), example("3", 1)
    there = replace(one, frames_FCHW=one.frames_FCHW.to("meta"))
    assert joined_frames([image.frames_FCHW, there.frames_FCHW]).device.type == "meta"
    batch = collate([[there, text], [image]], PAD)
    assert batch.frames_FCHW.device.type == "meta"
    assert batch.frames_FCHW.shape == (12, 3, 2, 2)
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    assert batch.pin_memory().frames_FCHW is batch.frames_FCHW
    assert {tensor.device.type for tensor in pinned} == {"cpu"}
    assert any(tensor is batch.tokens_BT for tensor in pinned)
    before = len(pinned)
    collate([[one, text], [image]], PAD).pin_memory()
    assert len(pinned) == 2 * before + 1  # the frames too
