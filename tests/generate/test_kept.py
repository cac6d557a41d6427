from typing import Any

import pytest
import torch

from tests.generate.watched import watched
from tests.small_model import model
from vxl.compressor.plan import CompressorPlan
from vxl.generate import ask, ask_all
from vxl.kv.recent import RecentConfig
from vxl.kv.scored.columns import columns_of


def plan_of(context: Any) -> CompressorPlan:
    """As many tokens a group as the context's visuals had."""
    frames_per_group = context.model.compressor.frames_per_group
    groups = context.frames // frames_per_group
    return CompressorPlan(frames_per_group, context.visual_tokens // groups, 1, 1, 1)


def test_a_full_cache_holds_all_of_every_part() -> None:
    context = watched(model())
    answers = ask_all(context, [[5], [6, 7]], max_new_tokens=2, kept=(plan_of(context), 24))
    assert [answer.kept for answer in answers] == [pytest.approx((1.0,) * 5)] * 2
    assert ask(context, [5], max_new_tokens=2).kept == ()


def test_what_a_policy_dropped_is_missing_where_it_was() -> None:
    made = model(kv=RecentConfig(keep=0.5))
    context = watched(made)
    answer = ask(context, [5], max_new_tokens=2, kept=(plan_of(context), 24))
    columns, cache, held = columns_of(context.cache), context.cache, [0.0] * 5
    for layer in range(len(cache.layers)):
        for head in range(cache.index(layer).shape[1]):
            for column in cache.index(layer)[0, head][cache.valid(layer)[0, head]].tolist():
                if columns.visual_BF[0, column]:
                    group = int(columns.group_BF[0, column])
                    held[group] += 1 / 4 / cache.index(layer).shape[1] / len(cache.layers)
    assert answer.kept == pytest.approx(held)
    assert answer.kept[0] == 0.0 < answer.kept[-1]


def test_parts_are_means_of_their_groups() -> None:
    made = model(kv=RecentConfig(keep=0.5))
    context = watched(made)
    fine = ask(context, [5], max_new_tokens=2, kept=(plan_of(context), 24)).kept
    (whole,) = ask(context, [5], max_new_tokens=2, kept=(plan_of(context), 1)).kept
    assert whole == pytest.approx(float(torch.tensor(fine).mean()))
