"""The frame of policies that score entries: moments, budgets, positions, and what it refuses."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.kv.test_policies import POLICIES, of_256, policy, read, watched
from tests.llm import tiny
from tests.small_model import model
from vxl.compressor.dts import DTSConfig
from vxl.errors import ConfigError
from vxl.generate import ask, ask_all
from vxl.kv.knorm import Knorm
from vxl.kv.policy import Policy
from vxl.kv.scored.attention import attention_of
from vxl.kv.scored.closing import close_up
from vxl.kv.scored.columns import columns_of
from vxl.kv.scored.followed import Followed, numbers_now
from vxl.kv.scored.room import TOLD
from vxl.llm.cache import Cache
from vxl.sequence.layout import Kind

NO_PROTECTION = ("bilevel", "rekv", "streaming")
"""Policies whose protection is their own."""


@pytest.mark.parametrize("name", ["tova", "h2o", "expected", "knorm", "recent", "lagkv"])
def test_the_budget_holds_while_an_answer_is_decoded(name: str) -> None:
    """As TOVA and H2O are published: an eviction at every token."""
    m = model(kv=policy(name, keep=0.5, decode_every=1), compressor=DTSConfig(ratio=4))
    context = of_256(m)
    held: list[tuple[int, list[int]]] = []
    original = m.policy.after_decode

    def after_decode(cache: Cache) -> None:
        original(cache)
        held.append((cache.fed, [int(cache.valid(n).sum(dim=-1).max()) for n in range(len(cache.layers))]))

    m.policy.after_decode = after_decode  # ty: ignore[invalid-assignment]
    ask(context, [5, 6, 7, 8], max_new_tokens=7)
    assert [fed for fed, _ in held] == list(range(261, 267))
    for fed, counts in held:
        assert counts == [int(fed * 0.5 + 0.5)] * len(counts)


def test_every_n_tokens_is_not_every_token() -> None:
    m = model(kv=policy("knorm", keep=0.5, decode_every=3), compressor=DTSConfig(ratio=4))
    context = of_256(m)
    fork = [answer.tokens for answer in ask_all(context, [[5, 6], [8]], max_new_tokens=9)]
    assert fork == [ask(context, question, max_new_tokens=9).tokens for question in ([5, 6], [8])]
    assert m.policy.acts_in_decoding
    assert not model(kv=policy("knorm")).policy.acts_in_decoding  # decoding may be a CUDA graph then


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("name", ["recent", "knorm", "tova"])
def test_a_budget_in_mebibytes_is_what_the_cache_takes(name: str, bits: int | None) -> None:
    mib = {None: 0.04, 8: 0.015, 4: 0.018}[bits]
    settings = {"bits": bits, "residual": 8}
    m = model(kv=policy(name, keep=None, mib=mib, **settings), compressor=DTSConfig(ratio=4))
    cache = of_256(m).cache
    assert (0.8 if bits != 4 else 0.6) * mib * 2**20 < cache.bytes() <= mib * 2**20
    assert cache.entries() < 256


def test_a_share_of_the_visual_tokens_leaves_text_beside_it() -> None:
    m = model(kv=policy("random", keep=0.25, of="visual"), compressor=DTSConfig(ratio=4))
    assert of_256(m).cache.entries() == 32 + 14 * 16 // 4


def test_layers_have_budgets_of_their_own_and_equal_ones_are_one() -> None:
    layers = {0: 0.5, 1: 0.25}
    m = model(kv=policy("keydiff", keep=None, layers=layers), compressor=DTSConfig(ratio=4))
    cache = of_256(m).cache
    assert [cache.entries(layer) for layer in range(2)] == [128, 64]
    same = model(kv=policy("keydiff", keep=None, layers={0: 0.5, 1: 0.5}), compressor=DTSConfig(ratio=4))
    one = model(kv=policy("keydiff", keep=0.5), compressor=DTSConfig(ratio=4))
    for a, b in zip(of_256(same).cache.layers, of_256(one).cache.layers, strict=True):
        assert torch.equal(a[0].keys_BNSH, b[0].keys_BNSH)


def test_policies_keep_nothing_of_a_request() -> None:
    """What they are made of is the same before and after watching and asking."""
    for name in ("h2o", "expected", "lagkv", "quick", "tova"):
        m = model(kv=policy(name, keep=0.5))
        before = dict(vars(m.policy))
        ask(watched(m), [5, 6], max_new_tokens=3)
        assert vars(m.policy) == before


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("knorm", {"tokens": 40}, "keep=0.5 tokens=40: a policy has one budget"),
        ("knorm", {"keep": None}, "no budget: a policy has one budget"),
        ("knorm", {"keep": 1.5}, "keep=1.5 is no fraction"),
        ("knorm", {"keep": None, "mib": 0.0}, "mib=0.0 keeps nothing"),
        ("knorm", {"keep": None, "layers": {0: 0.0}}, "0.0 is no fraction"),
        ("knorm", {"decode_every": 0}, "decode_every=0 is no number of tokens"),
        ("quick", {"keep": None, "tokens": 40}, "tokens=40 does not go with kv=quick"),
        ("adaretake", {"keep": None, "mib": 1.0}, "mib=1.0 does not go with kv=adaretake"),
        ("kvzip", {"keep": None, "layers": {0: 0.5}}, "layers.* does not go with kv=kvzip"),
        ("pyramid", {"keep": None, "layers": {0: 0.5}}, "layers.* does not go with kv=pyramid"),
        ("streaming", {"tokens": None, "layers": {0: 0.5}}, "layers.* does not go with kv=streaming"),
        ("kvzip", {"decode_every": 1}, "decode_every=1 does not go with kv=kvzip"),
        ("rekv", {"keep": 0.5, "decode_every": 1}, "decode_every=1 does not go with kv=rekv"),
        ("lagkv", {"keep": None, "tokens": 7}, "tokens=7 is less than two partitions of lag=4"),
        ("proxy", {"at": "question"}, "at=question does not go with kv=proxy"),
        ("rekv", {"groups": 1, "run": 2}, "groups=1 run=2 retrieve nothing"),
        ("h2o", {"recent": 2.0}, "recent=2.0 is no part"),
        ("infinipot", {"pool": "layers", "at": "finish"}, "pool=layers at=finish do not go together"),
        ("full", {"bits": 4, "residual": 0}, "residual=0 is no run of entries"),
    ],
)
def test_bad_settings_say_what_is_allowed(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        policy(name, **settings)
    assert len(str(caught.value).splitlines()) <= 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": None, "layers": {0: 0.5}}, "the language model has a layer 1, too"),
        ({"keep": None, "layers": {0: 0.5, 1: 0.5, 7: 0.5}}, "the language model has no layer 7"),
    ],
)
def test_layers_are_the_models(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model(kv=policy("knorm", **settings))


@pytest.mark.parametrize("settings", [{"keep": None, "tokens": 30}, {"keep": 0.1}])
def test_a_budget_below_what_is_protected_is_refused(settings: dict[str, Any]) -> None:
    m = model(kv=policy("knorm", **settings), compressor=DTSConfig(ratio=4))
    with pytest.raises(ConfigError, match=r"kv\.protect=text keeps .* in any case"):
        of_256(m)


@pytest.mark.parametrize("name", ["snapkv", "criticalkv", "pyramid", "rekv"])
@pytest.mark.parametrize(("settings", "room"), [({"keep": None, "tokens": 20}, 20), ({"keep": 0.3}, 17)])
def test_a_budget_below_text_isTOLD_at_the_question(
    name: str, settings: dict[str, Any], room: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the video is read; the question's tokens are no part of either number. Once for a budget."""
    TOLD.clear()
    for _ in range(2):
        ask(watched(model(kv=policy(name, **settings))), [5, 6, 7], max_new_tokens=1)
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"is room for {room} entries, but kv.protect=text keeps 22 in any case: no visual token" in said


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is room for 0 entries, but kv\.protect=none keeps 0") as caught:
        watched(model(kv=policy("knorm", keep=0.001, protect="none")))
    assert "kv.of=visual" in str(caught.value)
    assert "kv.protect=none" not in str(caught.value).splitlines()[-1]  # has been typed already


@pytest.mark.parametrize("name", [n for n in POLICIES if n not in (*NO_PROTECTION, "full", "vst", "x2l")])
def test_all_of_the_first_text_may_go(name: str) -> None:
    """7 tokens have no room at keep=0.05, 58 have room for 3; 3 of the question stay beside them."""
    context = watched(model(kv=policy(name, keep=0.05, protect="none")))
    assert len(ask(context, [5, 6, 7], max_new_tokens=3).tokens) == 3
    cache = read(context, [5, 6, 7])
    held = [cache.valid(layer).sum(dim=-1).double().mean().item() for layer in range(len(cache.layers))]
    assert sum(held) / len(held) == 3 + 3


def test_words_need_a_tokenizer() -> None:
    m = model(kv=policy("proxy", words="What happens?"))
    with pytest.raises(ConfigError, match=r"kv\.words of kv=proxy is a text"):
        watched(m)


def test_every_policy_names_its_settings_itself() -> None:
    """Its own `__init__` types them: without, keys of its base would be taken and its own refused."""
    from vxl.option.build import build

    for name in POLICIES:
        made: Policy = build(policy(name, **({"groups": 4} if name == "rekv" else {})))
        assert "__init__" in vars(type(made)), name


def test_between_evictions_an_answer_only_grows() -> None:
    m = model(kv=policy("knorm", keep=0.5, decode_every=3), compressor=DTSConfig(ratio=4))
    context = of_256(m)
    entries: list[int] = []
    original = m.policy.after_decode

    def after_decode(cache: Cache) -> None:
        original(cache)
        entries.append(int(cache.valid().sum(dim=-1).max()))

    m.policy.after_decode = after_decode  # ty: ignore[invalid-assignment]
    ask(context, [5, 6, 7, 8], max_new_tokens=8)
    half = [int(fed * 0.5 + 0.5) for fed in (263, 266)]
    first = entries[0]
    assert entries == [first, first + 1, half[0], half[0] + 1, half[0] + 2, half[1], half[1] + 1]


def test_a_questions_first_token_is_protected_with_the_others() -> None:
    m = model(kv=policy("knorm", keep=0.5), compressor=DTSConfig(ratio=4))
    scored = m.policy
    assert isinstance(scored, Knorm)
    columns = columns_of(of_256(m).cache)
    protected_BF = scored.protected(columns, first_asked=250)
    assert protected_BF[0, 250:].all()
    assert not (protected_BF & (columns.kind_BF == Kind.VISUAL))[0, :250].any()


def test_observers_that_are_padding_are_not_counted() -> None:
    """Of three observers in a second row only the first two exist."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(2, 1, 6, 4, generator=generator)
    query = torch.randn(2, 2, 3, 4, generator=generator)
    entries: Any = SimpleNamespace(
        turned_BNSH=keys,
        cache=SimpleNamespace(observed=SimpleNamespace(tokens=3)),
        valid_BNS=torch.ones(2, 1, 6, dtype=torch.bool),
        index_BNS=torch.arange(6).expand(2, 1, 6),
        gaps=False,
    )
    column_BQ = torch.arange(3, 6).expand(2, 3)
    real_BQ = torch.tensor([[True, True, True], [True, True, False]])
    ours = attention_of(query, column_BQ, real_BQ, entries)
    seen = torch.arange(6) <= column_BQ[0, :, None]
    score = (query @ keys.mT / 2).masked_fill(~seen, -torch.inf).softmax(dim=-1)
    expected = (score * real_BQ[:, None, :, None]).sum(dim=2)
    torch.testing.assert_close(ours[:, 0], expected)
    assert ours[1].sum().item() == pytest.approx(2 * 2)  # heads x observers


def test_positions_that_count_what_stayed_are_close_together_at_the_recent_end() -> None:
    llm = tiny.decoder()
    cache = llm.new_cache()
    with torch.no_grad():
        tiny.fed(llm, cache, tiny.tokens(1, 8))
    keep_BNS = torch.ones(1, 2, 8, dtype=torch.bool)
    keep_BNS[0, 0, 2:] = False  # the heads keep 2 and 5 entries
    keep_BNS[0, 1, 5:] = False
    cache.keep(keep_BNS)
    close_up(cache)
    for layer in range(len(cache.layers)):
        valid, positions = cache.valid(layer), cache.positions(layer)
        assert [positions[0, head][valid[0, head]].tolist() for head in (0, 1)] == [[3, 4], [0, 1, 2, 3, 4]]
    assert cache.next_B.tolist() == [5]


@torch.no_grad()
def test_numbers_follow_layers_that_held_other_numbers_of_entries() -> None:
    """Two layers hold as many entries now; one of them had lost more when its numbers were noted."""
    llm = tiny.decoder(layers=2)
    cache = llm.new_cache()
    llm.extend(torch.randn(1, 5, llm.width), cache)
    known = [
        Followed(torch.tensor([[[0, 2, 3]]]), torch.tensor([[[1.0, 2.0, 3.0]]])),
        Followed(torch.tensor([[[0, 1, 2, -1]]]), torch.tensor([[[4.0, 5.0, 6.0, 7.0]]])),
    ]
    now = numbers_now(cache, (0, 1), known, 2, torch.float64)
    expected = torch.tensor([[1.0, 0, 2, 3, 0], [4, 5, 6, 0, 0]], dtype=torch.float64)
    assert torch.equal(now, expected[:, None].expand(-1, 2, -1))
