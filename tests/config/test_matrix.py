"""Every model, in every size, with every option of every group."""

import itertools

import pytest

from vxl.config.catalog import options_by_group
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.option.files import CONF

# Without a value for these, an option is none.
NEEDS = {
    "data=json": ["data.json=list.json", "data.videos=videos"],
    "data=shards": ["data.train=[shards/*.tar]"],
    "relevance=file": ["relevance.file=selected.json"],
    "strategy=ddp": ["trainer.devices=2"],
    "strategy=fsdp2": ["trainer.devices=2"],
    "strategy=fsdp2_grad": ["trainer.devices=2"],
    "strategy=hsdp": ["trainer.devices=4", "strategy.shard=2"],
    "data=mixture": ["data.sources={films: {shards: [films/*.tar], weight: 2}}"],
}
# What rules refuse, with the beginning of the reason; everything else composes.
LONG = "data.max_tokens="
UNEVEN = "compressor.ratio=16 does not fit a grid of 27 x 27 patches."
TOWER = "relevance=siglip goes on from the output of SigLIP's tower; vision is "
NETWORK = "stage.objective=reconstruct trains the network of compressor=dts; vxl.compressor.pool.Pool has"
REFUSED = {
    **{
        (model, "tiny", "vision=siglip_so400m"): UNEVEN
        for model in ("small", "tiny", "videoxl2", "videoxl_pro", "videoxl_pro_march")
    },
    ("small", "published", "vision=siglip_so400m"): UNEVEN,
    ("small", "published", "relevance=siglip"): TOWER,
    ("videoxl", "published", "relevance=siglip"): TOWER,
    **{("videoxl", size, "stage=dts_reconstruct"): NETWORK for size in ("published", "tiny")},
    ("small", "published", "compressor=none"): LONG,
    ("tiny", "published", "vision=siglip_so400m"): UNEVEN,
    ("videoxl", "published", "compressor=none"): LONG,
    **{
        ("videoxl", "published", f"stage={stage}"): LONG
        for stage in ("lora", "videoxl2_instruct", "videoxl_pro_instruct")
    },
    ("videoxl2", "published", "compressor=none"): LONG,
    ("videoxl2", "published", "compressor=pool"): LONG,
    ("videoxl_pro", "published", "compressor=none"): LONG,
    ("videoxl_pro", "published", "compressor=pool"): LONG,
    ("videoxl_pro_march", "published", "compressor=none"): LONG,
    ("videoxl_pro_march", "published", "compressor=pool"): LONG,
}
IN_TURN = ("vision", "compressor", "stage")
SWITCHES = ("model", "size", "sweep", "benchmark")  # evaluation has benchmarks, tests of sweeps the sweeps
# What the rules of vxl.config.check read: groups, and options of groups that they read nothing else of.
RULED = (*IN_TURN, "data", "llm", "relevance", "strategy", "trainer", "video", "kv=bilevel", "kv=vst")
OPTIONS = options_by_group([CONF])
MODELS = list(OPTIONS["model"])


def choices() -> dict[str, list[str]]:
    """Every option of every group that a model is tried with, as one types it."""
    return {
        group: [f"{group}={option}" for option in options]
        for group, options in OPTIONS.items()
        if group not in SWITCHES
    }


def rows(model: str, size: str) -> list[list[str]]:
    """Lists of choices in which every option of every group comes up: refused ones alone, others together.

    Together means the n-th option of each group in the n-th row, where groups that rules speak of together
    take turns: so a model and a size take little more composings than the largest group has options.
    """
    return _together(model, size, choices())


def share(model: str, size: str) -> list[list[str]]:
    """The rows of a model's share of the options: two models have each that rules speak of, one each other.

    What rules refuse of a model it has itself.
    """
    own = [word for of, at, word in REFUSED if (of, at) == (model, size)]
    return _together(
        model,
        size,
        {
            group: [
                word
                for i, word in enumerate(words)
                if word in own or MODELS.index(model) in owners(group, word, i)
            ]
            for group, words in choices().items()
        },
    )


def owners(group: str, word: str, number: int) -> set[int]:
    """The models that try an option in the quick suite."""
    count = 2 if group in RULED or word in RULED else 1
    return {(number + i * len(MODELS) // 2) % len(MODELS) for i in range(count)}


def _together(model: str, size: str, words_by_group: dict[str, list[str]]) -> list[list[str]]:
    refused = [
        word for other_model, other_size, word in REFUSED if (other_model, other_size) == (model, size)
    ]
    groups = {
        group: [word for word in words if word not in refused] for group, words in words_by_group.items()
    }
    in_turn = [word for group in IN_TURN for word in groups.pop(group)]
    together = [[word for word in row if word] for row in itertools.zip_longest(in_turn, *groups.values())]
    return [[word] for word in refused] + together


def test_the_models_share_every_option() -> None:
    shares = {model: {word for row in share(model, "tiny") for word in row} for model in MODELS}
    every = {word for words in choices().values() for word in words}
    assert set.union(*shares.values()) == every
    for word in every:
        ruled = word in RULED or word.partition("=")[0] in RULED
        assert sum(word in words for words in shares.values()) >= 1 + ruled, word
    for model, _, word in (case for case in REFUSED if case[1] == "tiny"):
        assert word in shares[model]


def check(model: str, size: str, rows: list[list[str]]) -> None:
    """Each row composes, or is refused for the reason that is known."""
    for words in rows:
        more = [word for choice in words for word in NEEDS.get(choice, [])]
        reason = REFUSED.get((model, size, words[0]))
        try:
            config = compose("train", [f"model={model}", f"size={size}", *words, *more])
        except ConfigError as error:
            assert reason, f"model={model} size={size} {' '.join(words)}: {error}"  # noqa: PT017
            assert str(error).startswith(reason)  # noqa: PT017
        else:
            assert reason is None, f"{words} is no longer refused"
            assert config.model == model


@pytest.mark.parametrize("model", MODELS)
def test_every_option_composes(model: str) -> None:
    """In miniature, each option with some model; with all of them in the slow suite."""
    check(model, "tiny", share(model, "tiny"))


@pytest.mark.slow
@pytest.mark.parametrize("size", list(OPTIONS["size"]))
@pytest.mark.parametrize("model", MODELS)
def test_every_option_composes_with_every_model_and_size(model: str, size: str) -> None:
    check(model, size, rows(model, size))


def test_an_option_says_what_it_needs() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", ["data=json", "compressor.ratio=true"])
    assert str(caught.value) == (
        "compressor.ratio=true has the wrong type (true or false).\n  expected: int\n"
        "  e.g.  compressor.ratio=16\n\n"
        "data.json has no value.\n  type  data.json=VALUE  (str)\n\n"
        "data.videos has no value.\n  type  data.videos=VALUE  (str)"
    )


@pytest.mark.parametrize("option", list(OPTIONS["benchmark"]))
def test_every_benchmark_composes(option: str) -> None:
    assert compose("evaluate", ["run=x", f"benchmark={option}"]).benchmark
