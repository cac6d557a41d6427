"""CriticalKV's two stages, on given scores."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from tests.kv.test_policies import policy
from vxl.kv.criticalkv import CriticalKV


class Given(CriticalKV):
    """With a score, what is sure, and what a value moves, as they are given."""

    def __init__(self, score_NS: list, sure_S: list, moves_NS: list, **settings: Any) -> None:
        super().__init__(policy("criticalkv", **settings))
        self.given = torch.tensor(score_NS)[None]
        self.sure_11S = torch.tensor(sure_S, dtype=torch.bool)[None, None]
        self.moves = torch.tensor(moves_NS)[None]

    @override
    def score(self, entries: Any) -> Tensor:
        return self.given

    @override
    def sure(self, entries: Any) -> Tensor:
        return self.sure_11S

    @override
    def weight(self, entries: Any) -> Tensor:
        return self.moves


def chosen(given: Given, open_S: list, free: int) -> list[list[int]]:
    open_11S = torch.tensor(open_S, dtype=torch.bool)[None, None]
    entries: Any = SimpleNamespace(open_BNS=open_11S, free_BN1=torch.full((1, 1, 1), free))
    return [kept_S.nonzero()[:, 0].tolist() for kept_S in given.choose(entries)[0]]


def test_a_question_takes_no_places_of_the_first_stage() -> None:
    """It stands beside the budget, so that half of the places go by the score whatever its length."""
    score, moves = [0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 9.0, 90.0, 1.0, 1.0, 1.0]
    given = Given([score], [0, 0, 0, 0, 0, 1, 1, 1], [moves], first=0.25)
    assert chosen(given, [1, 1, 1, 1, 1, 0, 0, 0], 4) == [[0, 1, 3, 4]]
    # An observing window within the budget fills places of the first stage.
    assert chosen(given, [1] * 8, 5) == [[3, 4, 5, 6, 7]]


def test_what_an_adaptive_head_has_in_any_case_is_its_best_by_the_score() -> None:
    """As in kvpress' CriticalAdaKVPress, also where that is more than half of the head's share."""
    score = [[0.04, 0.03, 0.02, 0.01, 0.0], [0.9, 0.8, 0.7, 0.6, 0.5]]
    moves = [[1.0, 1.0, 1.0, 1.0, 999.0], [1.0, 1.0, 1.0, 1.0, 9.0]]
    given = Given(score, [0] * 5, moves, adaptive=True, least=0.7)
    assert chosen(given, [1] * 5, 3) == [[0, 1], [0, 1, 2, 4]]
