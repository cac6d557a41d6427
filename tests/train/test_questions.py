from types import SimpleNamespace

import torch

from vxl.train.questions import answered


def test_the_likeliest_letter_counts_whatever_else_is_likely():
    logits_SV = torch.zeros(3, 10)
    logits_SV[0, [9, 4]] = torch.tensor([9.0, 1.0])  # not an option; the third one
    logits_SV[2, 3] = 1.0
    batch = SimpleNamespace(
        answer_at_Q=torch.tensor([0, 2]), letters_Q=[[2, 3, 4, 5], [2, 3]], answer_Q=[2, 0]
    )
    assert answered(SimpleNamespace(logits_SV=logits_SV), batch) == [True, False]


def test_no_questions():
    batch = SimpleNamespace(answer_at_Q=torch.zeros(0, dtype=torch.int64), letters_Q=[], answer_Q=[])
    assert answered(SimpleNamespace(logits_SV=torch.zeros(0, 4)), batch) == []
