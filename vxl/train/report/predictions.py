"""A few held-out questions with what the model answers, at every validation: to see what the numbers mean.

    predictions/
      step-000200.json     question, options' letters, answer, right answer, how sure
      frames/KEY.png       some frames of each question's video, side by side

The same rows go to the logger as a table with the frames as images.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vxl.atomic import write_text
from vxl.data.batch.collate import Batch
from vxl.data.order.fixed import spread_places
from vxl.logger.prediction import Prediction, strip
from vxl.sequence.rows import IGNORE

# Frames of a question in its picture.
SHOWN = 4


def predictions(batch: Batch, output: Any, tokenizer: Any, most: int) -> list[Prediction]:
    """Some questions of a batch with the model's answers, spread over it.

    Args:
        batch: A micro-batch.
        output: What the model made of it.
        tokenizer: Writes the questions down; None leaves them empty.
        most: How many at most.
    """
    supervised = (batch.labels_BT != IGNORE).nonzero().tolist()
    rows = []
    places = zip(batch.answer_at_Q.tolist(), output.logits_QV, strict=True)
    questions = list(zip(places, batch.letters_Q, batch.answer_Q, batch.keys_Q, strict=True))
    for place in spread_places(len(questions), min(most, len(questions))):
        (at, scores_V), letters, answer, key = questions[place]
        row, column = supervised[at]
        scores = scores_V[letters].float().softmax(-1)
        best = int(scores.argmax())
        inside_T = batch.layout.document_BT[row] == batch.layout.document_BT[row, column]
        rows.append(
            Prediction(
                key=key,
                question=_asked(batch, row, inside_T, tokenizer),
                answer=chr(ord("A") + best),
                right=chr(ord("A") + int(answer)),
                probability=float(scores[best]),
                frames_FCHW=_frames(batch, row, inside_T),
            )
        )
    return rows


def write_predictions(folder: Path, step: int, new_rows: list[Prediction]) -> None:
    """Writes the rows of a step, and each question's frames once."""
    frames = folder / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    for prediction in new_rows:
        picture = frames / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', prediction.key)}.png"
        if len(prediction.frames_FCHW) and not picture.exists():
            Image.fromarray(strip(prediction.frames_FCHW).numpy()).save(picture)
    rows = [prediction.numbers() for prediction in new_rows]
    write_text(folder / f"step-{step:06d}.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _asked(batch: Batch, row: int, inside_T: Tensor, tokenizer: Any) -> str:
    if tokenizer is None:
        return ""
    tokens = batch.tokens_BT[row][inside_T & batch.layout.question_BT[row]]
    text = str(tokenizer.decode(tokens.tolist(), skip_special_tokens=True)).strip()
    return text.removesuffix("assistant").strip()  # the header of the answer, which is marked, too


def _frames(batch: Batch, row: int, inside_T: Tensor) -> Tensor:
    """Some frames of a document's visuals, spread over them."""
    items = batch.layout.item_BT
    before = sum(int(items[b].max()) + 1 for b in range(row))
    own = sorted(before + n for n in set(items[row][inside_T].tolist()) if n >= 0)
    starts = [0]
    for item in batch.items:
        starts.append(starts[-1] + item.frames)
    of_item = [batch.frames_FCHW[starts[n] : starts[n + 1]] for n in own]
    if not of_item:
        return batch.frames_FCHW[:0]
    frames_FCHW = torch.cat(of_item)
    frame_F = torch.linspace(0, len(frames_FCHW) - 1, min(SHOWN, len(frames_FCHW))).round().long()
    return frames_FCHW[frame_F].cpu()
