import pytest
import torch

from tests.llm.tiny import decoder, plain, tokens
from vxl.errors import ConfigError
from vxl.kv.full import Full as KeepAll
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.prefill.full import Full, FullConfig
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece


class Listening(KeepAll):
    """Writes down when it is asked."""

    def __init__(self) -> None:
        super().__init__(KeepAllConfig())
        self.heard: list[tuple[str, int]] = []

    def before_chunk(self, cache, piece):
        self.heard.append(("before", cache.entries()))
        return piece

    def after_chunk(self, cache, piece):
        self.heard.append(("after", cache.entries()))


@torch.no_grad()
def test_pieces_are_the_whole_and_the_policy_is_asked_around_each() -> None:
    llm, prefill, policy = decoder(), Full(FullConfig()), Listening()
    ids = tokens(1, 60)
    embeds, layout, cache = llm.embed(ids), Layout.text(1, 60), llm.new_cache()
    hidden = [
        prefill.feed(llm, policy, cache, Piece(embeds[:, a:b], layout.slice(a, b)))
        for a, b in ((0, 21), (21, 55), (55, 60))
    ]
    torch.testing.assert_close(llm.logits(torch.cat(hidden, 1)), plain(llm, ids), rtol=1e-5, atol=1e-5)
    assert policy.heard == [
        ("before", 0),
        ("after", 21),
        ("before", 21),
        ("after", 55),
        ("before", 55),
        ("after", 60),
    ]
    assert sum(part.shape[1] for part in cache.layouts) == cache.entries()


def test_training_runs_packed_rows() -> None:
    llm, ids = decoder(), tokens(1, 20)
    layout = Layout.text(1, 20)
    layout.document_BT[:, 12:] = 1
    positions = torch.cat([torch.arange(12), torch.arange(8)])[None]
    hidden, *_ = Full(FullConfig()).forward(llm, KeepAll(KeepAllConfig()), llm.embed(ids), positions, layout)
    torch.testing.assert_close(llm.logits(hidden)[:, 12:], plain(llm, ids[:, 12:]), rtol=1e-5, atol=1e-5)


def test_a_piece_needs_a_group() -> None:
    with pytest.raises(ConfigError, match="groups=0 is no piece"):
        FullConfig(groups=0)
