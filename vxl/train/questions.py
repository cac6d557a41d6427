"""Multiple choice inside a batch: which option's letter the model finds likeliest."""

from typing import Any


def answered(output: Any, batch: Any) -> list[bool]:
    """Whether each question of a batch is answered rightly: argmax over its options' letters.

    Args:
        output: The model's output: logits_SV, a row for each supervised token.
        batch: The batch: `answer_at_Q` (which of those tokens is the letter), `letters_Q` (token ids of the
            options' letters), `answer_Q` (the right option).
    """
    right = []
    for at, letters, answer in zip(batch.answer_at_Q.tolist(), batch.letters_Q, batch.answer_Q, strict=True):
        scores = output.logits_SV[at, letters]
        right.append(int(scores.argmax()) == int(answer))
    return right
