"""Video-XL-Pro from the tower's output to the logits, against the published code's numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden import TOLERANCE, error, golden
from tests.selector import published
from vxl.generate import ask, watch
from vxl.model import VideoLanguageModel
from vxl.selector.base import Selected
from vxl.selector.rows import choose_row, query_of, shorten
from vxl.sequence.layout import Kind
from vxl.sequence.rows import Rows

cases = pytest.mark.parametrize("case", published.CASES, ids=lambda case: f"case{case['case']}")
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def spliced(m: VideoLanguageModel, case: Any) -> Rows:
    """The whole sequence, before anything is dropped."""
    whole = published.sequence(case)
    embeds_1TD = m.splice(whole.tokens_1T, m.encode(published.frames(case)), whole.layout)
    return Rows(embeds_1TD, torch.full_like(whole.tokens_1T, -100), whole.tokens_1T, whole.layout)


def selected(m: VideoLanguageModel, rows: Rows) -> Selected:
    inside_T = rows.layout.real_BT[0]
    shown_T = rows.layout.kind_BT[0] != Kind.TEXT
    return m.selector.select(
        rows.embeds_BTD[0, shown_T],
        rows.layout.kind_BT[0, shown_T],
        rows.layout.group_BT[0, shown_T],
        rows.embeds_BTD[0, query_of(m.selector, rows.layout, 0, inside_T)],
    )


@cases
@dtypes
def test_scores_and_choices(case: Any, dtype: torch.dtype) -> None:
    recorded, m = golden(f"video_xl_pro/case{case['case']}"), published.model(case, dtype)
    rows = spliced(m, case)
    found = selected(m, rows)
    assert error(found.scores_N, recorded["token_scores"]) <= TOLERANCE[dtype]
    is_visual_S = rows.layout.kind_BT[0][rows.layout.kind_BT[0] != Kind.TEXT] == Kind.VISUAL
    kept_N = found.kept_S[is_visual_S]
    assert kept_N.nonzero().squeeze(1).tolist() == recorded["kept_visual_index"].tolist()
    assert found.kept_S[~is_visual_S].all()


def last_logits(m: VideoLanguageModel, rows: Rows) -> Tensor:
    hidden_BTD, *_ = m.prefill.forward(m.llm, m.policy, rows.embeds_BTD, rows.positions_BT, rows.layout)
    return m.llm.logits(hidden_BTD[0, -1])


@cases
@dtypes
def test_what_the_language_model_reads_and_says(case: Any, dtype: torch.dtype) -> None:
    recorded, m = golden(f"video_xl_pro/case{case['case']}"), published.model(case, dtype)
    rows = shorten(m.selector, spliced(m, case))
    assert rows.positions_BT.tolist() == [list(range(case["total_len"]))]
    assert error(rows.embeds_BTD[0], recorded["inputs_embeds"]) <= TOLERANCE[dtype]
    assert error(last_logits(m, rows), recorded["last_logits"]) <= TOLERANCE[dtype]


@cases
@dtypes
def test_watching_and_asking(case: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, m = golden(f"video_xl_pro/case{case['case']}"), published.model(case, dtype)
    said: list[Tensor] = []
    logits = m.llm.logits
    monkeypatch.setattr(m.llm, "logits", lambda hidden: said.append(logits(hidden)) or said[-1])
    context = watch(m, published.head(case), [published.frames(case).split(3)])
    assert not context.cache.entries()
    ask(context, published.split(case)[1], max_new_tokens=1)
    assert error(said[0][0], recorded["last_logits"]) <= TOLERANCE[dtype]


def test_the_query_is_a_switch() -> None:
    case = published.CASES[0]
    m = published.model(case, torch.float64)
    rows = spliced(m, case)
    whole = selected(m, rows)
    m.selector.whole_query = False
    assert not torch.allclose(selected(m, rows).scores_N, whole.scores_N, atol=1e-3)


def test_nothing_is_chosen_where_nothing_is_shown() -> None:
    case = published.CASES[0]
    m, rows = published.model(case, torch.float64), spliced(published.model(case, torch.float64), case)
    nothing_T = rows.layout.kind_BT[0] == Kind.TEXT
    embeds_TD = rows.embeds_BTD[0]
    assert choose_row(m.selector, embeds_TD, rows.layout, 0, nothing_T, embeds_TD[nothing_T], 0) is None
