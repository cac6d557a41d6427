"""A question reads the groups that it is most like, in every layer its own."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns, columns_of
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.llm.attention.step import Step
from vxl.llm.block import Block, choose
from vxl.llm.cache import Cache
from vxl.llm.cache.past import Past
from vxl.option.option import option
from vxl.precision import at_least_single
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Kind
from vxl.sequence.rows import padded


@dataclass(frozen=True, kw_only=True)
class ReKVConfig(ScoredConfig):
    """Whole groups are read that the question is most like, layer by layer; the context keeps everything."""

    budgets: ClassVar[tuple[str, ...]] = (*ScoredConfig.budgets, "groups")

    _target_: str = "vxl.kv.rekv.ReKV"
    keep: float | None = None
    """Budget as a fraction of the watched tokens, text included; whole groups that fit."""
    groups: int | None = 64
    """Budget in whole groups."""
    run: int = 1
    """Consecutive groups that are retrieved together, by the mean of their scores."""
    at: Literal["question"] = "question"
    """At the question, on its own fork: the next question retrieves anew."""
    compact: bool = True
    """Whether text and retrieved groups stand at consecutive positions, as published."""
    decode_every: int | None = None
    """Only null: what was retrieved for a question stays for its answer."""
    local: int | None = option(None, later=True)
    """While watching, tokens that each token sees, its own included (published: 15000); the first text, once
    it is further back, stands at this distance. null: everything that `prefill` lets it see."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run < 1 or (self.groups is not None and self.groups < self.run):
            raise ConfigError(
                f"groups={self.groups} run={self.run} retrieve nothing.\n"
                "  allowed: runs of 1 or more groups, room for one run\n  e.g.  groups=64 run=1"
            )
        if self.decode_every is not None:
            raise ConfigError(
                f"decode_every={self.decode_every} does not go with kv=rekv: what was retrieved stays "
                "for the answer.\n  type  kv.decode_every=null   or  kv=tova kv.at=question"
            )
        if self.local is not None and self.local < 1:
            raise ConfigError(
                f"local={self.local} lets a token see nothing.\n"
                "  allowed: 1 or more tokens, or null\n  e.g.  local=15000"
            )


class ReKV(Scored):
    """Score of a group: c_g . q, the mean of its un-rotated keys times the mean of the question's un-rotated
    queries, summed over all heads; the best groups are read by all heads of the layer.

    ReKV (arXiv 2503.00540, section 3; Becomebright/ReKV, model/attention/). The bare question (its text alone
    where that is known, without the template: `ask(texts=...)`, as all of vxl's commands do) runs through the
    layers, and each one reads the text and the groups that it retrieves for the queries that have just
    reached it; these keys and values are dropped, and all of the prompt runs behind what was retrieved.
    So a question costs two passes, and reads every key once. The paper says cosine; the code takes the plain
    product, and so does this. Time text comes with its group, and stays without it where `protect=text`;
    published is `none`.

    The published encoding of the video is `local=15000` with `prefill=full`: a token sees so many tokens up
    to itself at their distances, and the first text (`n_init`), once it has left this window, at a distance
    of 15,000, each of its tokens at the same one; nothing else, time text neither. Everything stays in the
    cache (`offload=true`: on the host, as published). The authors' code adds the first text for a whole piece
    of input as soon as the piece reaches beyond the window, so that those of its tokens that still have the
    text in their window see it twice; here each sees it once."""

    per_head = False

    def __init__(self, config: ReKVConfig) -> None:
        super().__init__(config)
        self.config: ReKVConfig = config
        self.groups, self.run = config.groups, config.run
        self.tokenizer: Any = None

    def prepare(self, tokenizer: Any) -> None:
        """Keeps the tokenizer at hand, which reads bare questions."""
        self.tokenizer = tokenizer

    @property
    def local(self) -> int | None:
        """Tokens that a token sees while watching, beside the first text."""
        return self.config.local

    @property
    def stays_near(self) -> bool:
        """Whether neither watching nor the question sees far: what is retrieved is closed up, and time text,
        which grows with the video, does not stay."""
        grows = self.settings.protect == "text" or self.settings.keep is not None
        return self.local is not None and self.settings.compact and not grows and not self.settings.layers

    @override
    def protected(self, columns: Columns, first_asked: int | None = None) -> Tensor:
        """Text stays in any case."""
        stays_BF = super().protected(columns, first_asked)
        return stays_BF | ((columns.kind_BF == Kind.TEXT) & columns.real_BF)

    def before_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Retrieves: leaves each layer its own groups."""
        columns = columns_of(cache)
        if self.groups is None:
            self.refuse_small(cache, columns, cache.fed, tell=True)
            rooms = self.rooms(cache, columns, cache.fed)
            held_B = cache.valid()[:, 0].sum(dim=-1)
            all_fit = bool((torch.stack(rooms).amin(dim=0) >= held_B).all())
        else:
            rooms = [torch.full_like(cache.next_B, cache.fed)] * len(cache.layers)
            all_fit = int(columns.last_group_B.max()) < self.groups
        if all_fit:
            return
        if cache.rows > 1:
            cache.join()
        entries = [self.entries(cache, n, columns, room) for n, room in enumerate(rooms)]
        past = Retrieved(self, entries)
        embeds_BQD, valid_BQ = self.bare(question)
        asked = embeds_BQD.shape[1]
        step = question.llm.step(cache=cache, tokens=asked, valid_BT=valid_BQ, observe=asked)
        # The past is what each layer finds when its queries are there, whatever type it has.
        past.step = replace(step, past=past)
        question.llm(embeds_BQD, past.step)
        cache.keep(past.kept)
        if self.settings.compact:
            self.close(cache, columns)

    def bare(self, question: QuestionPiece) -> tuple[Tensor, Tensor | None]:
        """Embeddings of the questions as they were asked, without the template around them, padded on the
        right, and which tokens are real (None = all); all that was given where no text is known."""
        if question.texts is None or self.tokenizer is None:
            return question.embeds_BTD, question.valid_BT
        rows = [
            self.tokenizer.encode(text, add_special_tokens=False) or tokens
            for text, tokens in zip(question.texts, question.tokens, strict=True)
        ]
        tokens_BQ, valid_BQ = padded(rows, question.embeds_BTD.device)
        return question.llm.embed(tokens_BQ), valid_BQ

    def after_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Nothing: what was retrieved stays."""

    def after_watch(self, cache: Cache) -> None:
        """Nothing: the context keeps everything."""

    def chosen(self, entries: Entries, queries_BMH: Tensor) -> Tensor:
        """Which entries of a layer a question reads, bool [B, 1, S].

        Args:
            entries: The layer's entries.
            queries_BMH: The mean of the question's un-rotated queries, of every query head.
        """
        columns = entries.columns
        groups = columns.sizes_BG.shape[1]
        group_BS = columns.group_BF.gather(1, entries.index_BNS[:, 0])
        visual_BS = entries.valid_BNS[:, 0] & columns.visual_BF.gather(1, entries.index_BNS[:, 0])
        at_BS = torch.where(visual_BS, group_BS, groups)
        means = means_of(entries.keys_BNSH, at_BS, groups)
        score_BG = similarity(means, queries_BMH)
        exist_BG = columns.sizes_BG > 0
        score_BG = of_runs(score_BG, exist_BG, self.run).masked_fill(~exist_BG, -torch.inf)
        order_BG = score_BG.argsort(dim=1, descending=True, stable=True)
        own_BS = entries.open_BNS[:, 0] & (group_BS >= 0)
        cost_BG = torch.zeros_like(order_BG).scatter_add(1, group_BS.clamp(min=0), own_BS.long())
        spent_BG = cost_BG.gather(1, order_BG).cumsum(dim=1)
        fits_BG = spent_BG <= entries.free_BN1[:, 0]
        if self.groups is not None:
            run_BG = order_BG // self.run  # the last one may be short
            runs_BG = run_BG.diff(dim=1, prepend=run_BG[:, :1]).ne(0).cumsum(dim=1)
            fits_BG = fits_BG & (runs_BG < self.groups // self.run)
        taken_BG = torch.zeros_like(exist_BG).scatter(1, order_BG, fits_BG) & exist_BG
        read_BS = taken_BG.gather(1, group_BS.clamp(min=0)) & (group_BS >= 0)
        return entries.valid_BNS[:, :1] & (entries.protected_BNS[:, :1] | read_BS[:, None])


class Retrieved(Past):
    """The past of a question's first pass: a layer's blocks are chosen when its queries are known."""

    def __init__(self, policy: ReKV, entries: list[Entries]) -> None:
        self.policy, self.entries = policy, entries
        self.step: Step | None = None
        self.kept: list[Tensor] = [torch.empty(0)] * len(entries)

    def __len__(self) -> int:
        return len(self.entries)

    @override
    def blocks(self, layer: int) -> tuple[Block, ...]:
        assert self.step is not None
        entries, cache, step, queries = (
            self.entries[layer],
            self.entries[layer].cache,
            self.step,
            self.step.queries,
        )
        assert queries is not None
        query_BMQH, column_BQ = queries[layer], step.observed_BQ
        assert query_BMQH is not None
        assert column_BQ is not None
        position_BQ = step.positions_BT.gather(1, column_BQ.clamp(min=0))
        query = cache.rotary.turn(at_least_single(query_BMQH), -position_BQ[:, None])
        real_BQ = column_BQ >= 0
        count_B11 = real_BQ.sum(dim=1).clamp(min=1)[:, None, None]
        mean_BMH = (query * real_BQ[:, None, :, None]).sum(dim=2) / count_B11
        self.kept[layer] = mask_B1S = self.policy.chosen(entries, mean_BMH)
        blocks, start = [], 0
        rank_B1S = mask_B1S.long().cumsum(dim=-1) - 1
        first_B11 = (step.positions_BT[:, :1] - mask_B1S[:, 0].sum(dim=1, keepdim=True))[..., None]
        for block in cache.layers[layer]:
            part, stop = mask_B1S[..., start : start + len(block)], start + len(block)
            choice = choose(block, part)
            own = block if choice is None else block.chosen(choice)
            if self.policy.settings.compact and len(own):
                # Up to the question, which stands where everything watched ends.
                place_B1S = (first_B11 + rank_B1S)[..., start:stop]
                order = torch.arange(len(block), device=part.device).expand_as(part)
                order = order if choice is None else choice.order_BNS
                own = own.at(place_B1S.gather(2, order), cache.rotary)
            blocks.append(own)
            start = stop
        return tuple(block for block in blocks if len(block))


def means_of(keys_BNSH: Tensor, at_BS: Tensor, groups: int) -> Tensor:
    """Mean key of each group, [B, N, G, H]; entries at number `groups` belong to none."""
    rows, heads, _, width = keys_BNSH.shape
    at_BNSH = at_BS[:, None, :, None].expand_as(keys_BNSH)
    sums = keys_BNSH.new_zeros(rows, heads, groups + 1, width).scatter_add(2, at_BNSH, keys_BNSH)
    counts_BG = torch.zeros(rows, groups + 1, dtype=torch.int64, device=at_BS.device)
    counts_BG = counts_BG.scatter_add(1, at_BS, torch.ones_like(at_BS))
    return (sums / counts_BG.clamp(min=1)[:, None, :, None])[:, :, :groups]


def similarity(means_BNGH: Tensor, queries_BMH: Tensor) -> Tensor:
    """Product of each group's mean key with the queries, summed over query heads, [B, G]."""
    heads = means_BNGH.shape[1]
    summed_BNH = queries_BMH.unflatten(1, (heads, -1)).sum(dim=2)
    return (means_BNGH @ summed_BNH[..., None].to(means_BNGH.dtype))[..., 0].sum(dim=1)


def of_runs(score_BG: Tensor, exist_BG: Tensor, run: int) -> Tensor:
    """Each group's score replaced by the mean of its run."""
    if run == 1:
        return score_BG
    short = -score_BG.shape[1] % run
    score, exist = (
        torch.nn.functional.pad(x, (0, short)) for x in (score_BG * exist_BG, exist_BG.to(score_BG.dtype))
    )
    sums, counts = (x.unflatten(1, (-1, run)).sum(dim=2) for x in (score, exist))
    means = (sums / counts.clamp(min=1)).repeat_interleave(run, dim=1)
    return means[:, : score_BG.shape[1]]
