"""Retrieval of whole groups: scores of the authors' code, and layers that retrieve for their own queries."""

import pytest
import torch

from tests.golden.policies.measure import FILES, found
from tests.kv.test_policies import of_256, policy
from tests.small_model import model
from vxl.compressor.dts import DTSConfig
from vxl.kv.rekv import ReKV, means_of, of_runs, similarity
from vxl.kv.scored.columns import columns_of
from vxl.llm.cache import Cache
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Layout


@pytest.mark.parametrize("number", FILES)
def test_scores_and_groups_are_the_authors(number: int) -> None:
    known = found(f"authors_{number}")
    keys = known["rekv.keys"][None]
    at = torch.arange(12).repeat_interleave(8)[None]
    scores = similarity(means_of(keys, at, 12), known["rekv.queries"].mean(dim=1)[None])
    torch.testing.assert_close(scores[0], known["rekv.similarity"], rtol=1e-5, atol=1e-5)
    for name in (name for name in known if name.startswith("rekv.") and name.endswith(".frames")):
        most, run = map(int, name.split(".")[1:3])
        order = of_runs(scores, torch.ones_like(scores, dtype=torch.bool), run).argsort(
            dim=1, descending=True, stable=True
        )
        assert order[0, :most].sort().values.tolist() == known[name].tolist()


@torch.no_grad()
@pytest.mark.parametrize("compact", [True, False])
def test_every_layer_retrieves_for_the_queries_that_reach_it(compact: bool) -> None:
    """Reading the bare question on what was retrieved gives the queries that it was retrieved for."""
    m = model(kv=policy("rekv", groups=3, compact=compact), compressor=DTSConfig(ratio=4)).double()
    context = of_256(m)
    ids = torch.tensor([[5, 6, 7, 8]])
    question = QuestionPiece(
        m.llm.embed(ids),
        Layout.text(1, 4),
        llm=m.llm,
        relevance=m.relevance,
        tokens=(tuple(ids[0].tolist()),),
    )
    cache = context.cache.fork()
    m.policy.before_question(cache, question)
    kept = [cache.index(layer)[0, 0].tolist() for layer in range(len(cache.layers))]
    assert [len(own) for own in kept] == [32 + 3 * 16] * 2  # text and time text, and three groups
    assert kept[0] != kept[1]
    again = cache.fork()
    m.llm.extend(question.embeds_BTD, again, observe=4)
    assert again.observed is not None
    for layer, query in enumerate(again.observed.queries):
        position = cache.next_B[:, None] + torch.arange(4)
        mean = cache.rotary.turn(query, -position[:, None]).mean(dim=2)
        assert retrieved(m.policy, context.cache, layer, mean) == kept[layer]


def retrieved(made: ReKV, cache: Cache, layer: int, mean: torch.Tensor) -> list[int]:
    held = made.entries(cache, layer, columns_of(cache), torch.tensor([cache.fed]))
    return made.chosen(held, mean)[0, 0].nonzero()[:, 0].tolist()
