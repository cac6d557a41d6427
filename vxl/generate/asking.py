"""Answering questions about what was watched, each on a fork of the context of its own."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vxl.compressor.plan import CompressorPlan
from vxl.errors import DataError
from vxl.generate.context import Context, now
from vxl.generate.decoding import decoding
from vxl.generate.kept import kept_shares
from vxl.generate.length import refuse_longer
from vxl.generate.sampling import Sampling, TokenChooser
from vxl.generate.selecting import prefill
from vxl.generate.text import StreamedText
from vxl.llm.cache import Cache
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Layout
from vxl.sequence.rows import padded


@dataclass(frozen=True)
class Answer:
    """What a model said, and what it cost."""

    text: str
    """Decoded without special tokens; empty where no tokenizer was given."""
    tokens: tuple[int, ...]
    """Generated tokens, without one that ended the answer; a string that did is still in them."""
    stopped: bool
    """Whether the answer ended by itself, and not at `max_new_tokens`."""
    prefill_ms: float
    """From the question to the first token. The video's prefill stands in the context; with a selector it is
    here."""
    decode_ms: float
    """From the first token to the last; of a batch, of the whole batch."""
    decode_tokens_per_s: float
    """Tokens after each row's first, also those that end answers, by `decode_ms`; 0 where there are none."""
    cache_bytes: int
    """Memory of the entries that the cache had at the end, the shared part included."""
    cache_room_bytes: int
    """Memory that it held beside them, for tokens that did not come."""
    peak_bytes: int | None
    """Highest memory of the GPU's allocator since it was last reset; None on a CPU."""
    kept: tuple[float, ...] = ()
    """Over the video, in equal parts, the share of its visual tokens that the cache held; none if not asked
    for."""
    option: str | None = None
    """Of a question with options: the text of the one that was named, None where none was."""


def ask(context: Context, question: Sequence[int], **settings: Any) -> Answer:
    """Answers one question; see `ask_all` for the settings."""
    return ask_all(context, [question], **settings)[0]


@torch.no_grad()
def ask_all(
    context: Context,
    questions: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 32,
    stop: Collection[int] = (),
    stop_text: Collection[str] = (),
    sampling: Sampling | None = None,
    tokenizer: Any = None,
    texts: Sequence[str] | None = None,
    kept: tuple[CompressorPlan, int] | None = None,
    bare: bool = True,
    on_token: Callable[[int, int], None] | None = None,
    on_text: Callable[[int, str], None] | None = None,
) -> list[Answer]:
    """Answers questions about what was watched, all at once, each on a fork of the context of its own.

    Args:
        context: From `watch`; it is not changed.
        questions: Tokens of each question, up to the assistant's header (`Prompt.tail`).
        max_new_tokens: Longest answer; shorter where `Context.most` leaves less room.
        stop: End tokens (EOS), which end an answer: `Prompt.end`.
        stop_text: Strings that end an answer, wherever tokens begin and end; its text ends before them.
        sampling: How tokens are chosen; None = the most likely.
        tokenizer: Decodes the answers' text; None = only tokens.
        texts: The questions as they were asked, which some kinds of relevance look at.
        kept: (how many tokens the video's groups had, in how many parts to cut it): `Answer.kept` is wanted.
        bare: Whether an answer's text is without spaces around it.
        on_token: Called with row and token as soon as a token is known, those that end an answer left out.
        on_text: Called with row and the next piece of its text, as soon as nothing can change it any more.

    Raises:
        DataError: A question is empty or too long for its context, or text is wanted without a tokenizer.
    """
    if not questions or not all(questions) or max_new_tokens < 1:
        raise DataError("nothing to answer: a question has no tokens, or max_new_tokens is below 1.")
    if tokenizer is None and (stop_text or on_text):
        raise DataError(
            "stop_text and on_text are about text.\n  give a tokenizer=, such as LoadedModel.tokenizer"
        )
    model, rows = context.model, len(questions)
    choose = TokenChooser(sampling or Sampling(), rows)
    began = now(model)
    source, cache = forked(context, questions, draw=sampling.seed if sampling else 0)
    if context.most is not None and not model.policy.stays_near:
        longest = max(map(len, questions))
        used = int(cache.next_B.max()) + longest
        refuse_longer(used, context.most, context.frames, longest)
        max_new_tokens = min(max_new_tokens, context.most - used + 1)  # the last one is not fed
    hidden_BD = feed_questions(context, cache, questions, texts)
    tokens_of_row: list[list[int]] = [[] for _ in range(rows)]
    shows = [None if on_text is None else partial(on_text, row) for row in range(rows)]
    streams = [] if tokenizer is None else [StreamedText(tokenizer, stop_text, show, bare) for show in shows]
    has_stopped = [False] * rows
    first = last = began
    logits_BV = model.llm.logits(hidden_BD)
    with decoding(model, source, cache, max_new_tokens) as step:
        for count in range(1, max_new_tokens + 1):
            next_B = choose(logits_BV)
            next_tokens = next_B.tolist()
            last = now(model)
            first = last if count == 1 else first
            for row, token in enumerate(next_tokens):
                if has_stopped[row] or token in stop:
                    has_stopped[row] = True
                    continue
                tokens_of_row[row].append(token)
                if on_token is not None:
                    on_token(row, token)
                if tokenizer is not None:
                    has_stopped[row] = streams[row].add(token)
            if all(has_stopped) or count == max_new_tokens:
                break
            logits_BV = step(next_B.to(model.device))
    decode_ms = last - first
    shares = [()] * rows if kept is None else kept_shares(cache, kept[0], context.frames, kept[1])
    by_text = [text.ended for text in streams] or [False] * rows
    used_bytes = cache.used_bytes()
    passes = sum(map(len, tokens_of_row)) + sum(has_stopped) - sum(by_text) - rows
    return [
        Answer(
            text="" if tokenizer is None else streams[row].finish(),
            tokens=tuple(tokens),
            stopped=has_stopped[row],
            prefill_ms=first - began,
            decode_ms=decode_ms,
            decode_tokens_per_s=1000 * passes / decode_ms if decode_ms else 0.0,
            cache_bytes=used_bytes,
            cache_room_bytes=cache.bytes() - used_bytes,
            peak_bytes=torch.cuda.max_memory_allocated(model.device) if model.device.type == "cuda" else None,
            kept=shares[row],
        )
        for row, tokens in enumerate(tokens_of_row)
    ]


def forked(context: Context, questions: Sequence[Sequence[int]], draw: int = 0) -> tuple[Cache, Cache]:
    """(the cache of what was watched, where the model is; a fork of it with a row a question).

    Args:
        context: From `watch`; it is not changed.
        questions: Tokens of each question, of which a selector selects.
        draw: What a selector draws with.
    """
    model, source = context.model, context.cache
    if context.waiting is None:
        source = source.to(model.device)  # comes back where it was put aside
        return source, source.fork(len(questions))
    waiting = context.to(model.device).waiting
    assert waiting is not None
    return source, prefill(model, waiting, questions, draw=draw)


def feed_questions(
    context: Context, cache: Cache, questions: Sequence[Sequence[int]], texts: Sequence[str] | None
) -> Tensor:
    """Runs questions of different lengths behind the context; hidden_BD of each one's last token."""
    hidden_BTD = read_questions(context, cache, questions, texts)
    lengths = [len(tokens) - 1 for tokens in questions]
    return hidden_BTD[torch.arange(len(questions)), torch.tensor(lengths)]


def read_questions(
    context: Context, cache: Cache, questions: Sequence[Sequence[int]], texts: Sequence[str] | None
) -> Tensor:
    """Like `feed_questions`; hidden_BTD of all tokens, shorter questions filled up on the right."""
    model = context.model
    question = question_piece(context, questions, texts)
    model.policy.before_question(cache, question)
    hidden_BTD = model.llm.extend(
        question.embeds_BTD,
        cache,
        valid_BT=question.valid_BT,
        layout=question.layout,
        observe=model.policy.observe_question,
    )
    model.policy.after_question(cache, question)
    return hidden_BTD


def question_piece(
    context: Context, questions: Sequence[Sequence[int]], texts: Sequence[str] | None
) -> QuestionPiece:
    """Questions of different lengths as one piece, padded on the right."""
    model = context.model
    tokens_BT, valid_BT = padded(questions, model.device)
    return QuestionPiece(
        model.llm.embed(tokens_BT),
        Layout.text(*tokens_BT.shape, model.device),
        valid_BT,
        llm=model.llm,
        relevance=model.relevance,
        tokens=tuple(map(tuple, questions)),
        texts=None if texts is None else tuple(texts),
        names=context.names,
        seen=context.seen,
    )
