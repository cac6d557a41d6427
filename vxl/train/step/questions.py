"""Multiple choice inside a batch: which option's letter the model finds likeliest."""

from vxl.data.batch.collate import Batch
from vxl.model import TrainOutput


def right_answers(output: TrainOutput, batch: Batch) -> list[bool]:
    """Whether each question of a batch is answered rightly: argmax over its options' letters.

    Args:
        output: The model's output: logits_QV, the scores where each question's letter should come.
        batch: The batch: `letters_Q` (token ids of the options' letters), `answer_Q` (the right option).
    """
    right = []
    for scores_V, letters, answer in zip(output.logits_QV, batch.letters_Q, batch.answer_Q, strict=True):
        scores = scores_V[letters]
        right.append(int(scores.argmax()) == int(answer))
    return right
