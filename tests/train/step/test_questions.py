from types import SimpleNamespace

import torch

from vxl.train.step.questions import right_answers


def test_the_likeliest_letter_counts_whatever_else_is_likely():
    logits_QV = torch.zeros(2, 10)
    logits_QV[0, [9, 4]] = torch.tensor([9.0, 1.0])  # not an option; the third one
    logits_QV[1, 3] = 1.0
    batch = SimpleNamespace(letters_Q=[[2, 3, 4, 5], [2, 3]], answer_Q=[2, 0])
    assert right_answers(SimpleNamespace(logits_QV=logits_QV), batch) == [True, False]


def test_the_letters_stand_in_the_order_of_the_options_not_of_their_tokens():
    logits_QV = torch.zeros(1, 10)
    logits_QV[0, 7] = 1.0
    batch = SimpleNamespace(letters_Q=[[7, 2, 9, 4]], answer_Q=[0])
    assert right_answers(SimpleNamespace(logits_QV=logits_QV), batch) == [True]


def test_no_questions():
    batch = SimpleNamespace(letters_Q=[], answer_Q=[])
    assert right_answers(SimpleNamespace(logits_QV=torch.zeros(0, 4)), batch) == []
