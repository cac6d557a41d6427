"""Each rule that spans several keys, with the exact text that a user reads."""

import dataclasses

import pytest
from omegaconf import OmegaConf

from vxl.compressor.base import plan
from vxl.config import check
from vxl.config.compose import compose_yaml, typed
from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.train.config import TrainConfig

NONE: list[str] = []


def config(*words: str) -> TrainConfig:
    """A config before the rules. Options are composed, once for all that choose the same; keys are set."""
    keys = [word for word in words if "." in word.partition("=")[0] or word.startswith("name=")]
    composed = compose_yaml("train", [word for word in words if word not in keys])
    return typed(OmegaConf.merge(composed, OmegaConf.from_dotlist(keys)), "train")


def problems(rule: check.Rule, *words: str) -> list[str]:
    """What a rule finds, or the error that a part raises itself."""
    try:
        return list(rule(config(*words)))
    except ConfigError as error:
        return [str(error)]


@pytest.fixture(scope="module")
def default() -> TrainConfig:
    return config()


@pytest.mark.parametrize("rule", check.RULES, ids=lambda rule: rule.__name__)
def test_the_default_config_keeps_every_rule(rule: check.Rule, default: TrainConfig) -> None:
    assert list(rule(default)) == []


CASES: list[tuple[check.Rule, str, str]] = [
    (
        check.frames_are_wanted,
        "video.max_frames=0",
        "video.max_frames=0 asks for no frame.\n  allowed: 1 or more",
    ),
    (
        check.ratio_fits_grid,
        "compressor.ratio=6",
        "compressor.ratio=6 does not fit a grid of 4 x 4 patches.\n"
        "  ratios that fit: 1, 2, 4, 8, 16, 32, 64, 128\n  e.g.  compressor.ratio=4",
    ),
    (
        check.video_fits_sequence,
        "data.max_tokens=8",
        "data.max_tokens=8 is too short for a video of video.max_frames=8:\n  2 groups x 4 = 8 visual.\n"
        "  allowed: data.max_tokens above 8 plus the text, or at most 4 frames\n  e.g.  data.max_tokens=512",
    ),
    (
        check.levels_have_something_to_pool,
        "kv=bilevel kv.pool=5",
        "kv.pool=5 is more than the visual tokens of a group (4): nothing would be pooled.\n"
        "  allowed: 1 to 4\n  e.g.  kv.pool=4   or a lower compressor.ratio",
    ),
    (
        check.relevance_has_its_layers,
        "relevance.layers=[1,99]",
        "relevance.layers=[1, 99]: the language model has no layer 99.\n"
        "  allowed: 0 to {last}\n  e.g.  relevance.layers=[{middle}]",
    ),
    (
        check.relevance_has_its_tower,
        "relevance=siglip model=videoxl",
        "relevance=siglip goes on from the output of SigLIP's tower; "
        "vision is vxl.vision.clip.ClipTower.\n{more}",
    ),
    (
        check.devices_have_a_strategy,
        "trainer.devices=2",
        "strategy=single uses one device; got trainer.devices=2 trainer.num_nodes=1.\n"
        "  allowed: trainer.devices=1 trainer.num_nodes=1\n"
        "  e.g.  strategy=ddp trainer.devices=2    (a copy of the model on each)\n"
        "        strategy=fsdp2 trainer.devices=2  (one model spread over all)",
    ),
    (
        check.devices_have_a_strategy,
        "strategy=ddp",
        "strategy=ddp needs several devices; got trainer.devices=1 trainer.num_nodes=1.\n"
        "  allowed: 2 or more in all\n  e.g.  strategy=ddp trainer.devices=2\n"
        "        strategy=single             (on one)",
    ),
    (
        check.devices_have_a_strategy,
        "strategy=fsdp2 trainer.devices=2 trainer.micro_batch=auto",
        "trainer.micro_batch=auto tries the whole model on one device; strategy=fsdp2 spreads it.\n"
        "  type  trainer.micro_batch=given data.batch=ROWS",
    ),
    (
        check.devices_have_a_strategy,
        "strategy=hsdp trainer.devices=6 strategy.shard=4",
        "strategy=hsdp makes copies of the model, each on 4 of 6 processes; got trainer.devices=6 "
        "trainer.num_nodes=1.\n  allowed: strategy.shard=2, 3\n  e.g.  strategy=hsdp strategy.shard=2\n"
        "        strategy=fsdp2   (one model over all)",
    ),
    (
        check.rows_can_be_shared,
        "strategy.context=2",
        "strategy.context=2 shares each row among 2 processes; strategy=single has one.\n"
        "  e.g.  strategy=fsdp2 trainer.devices=2 strategy.context=2\n  or    strategy.context=1",
    ),
    (
        check.rows_can_be_shared,
        "strategy=fsdp2 trainer.devices=6 strategy.context=4",
        "strategy.context=4 does not divide the 6 processes (trainer.devices=6 trainer.num_nodes=1).\n"
        "  allowed: strategy.context=1, 2, 3, 6\n  e.g.  strategy.context=4 trainer.devices=4",
    ),
    (
        check.rows_can_be_shared,
        "strategy=ddp trainer.devices=2 strategy.context=2 kv=vst",
        "strategy.context=2 does not go with kv=vst: its windows follow each other through a memory, and "
        "can't be shared out.\n  allowed: another kv, or a process a row\n  e.g.  kv=full\n"
        "  or    strategy.context=1",
    ),
    (
        check.rows_can_be_shared,
        "strategy=ddp trainer.devices=2 strategy.context=2 stage=dts_reconstruct",
        "strategy.context=2 shares out sequences, and stage.objective=reconstruct has none.\n"
        "  e.g.  strategy.context=1",
    ),
    (
        check.rows_can_be_shared,
        "strategy=ddp trainer.devices=2 strategy.context=2 llm.attention=varlen",
        "strategy.context=2 attends by llm.attention=sdpa alone; got llm.attention=varlen.\n"
        "  e.g.  llm.attention=sdpa\n  or    strategy.context=1",
    ),
    (
        check.rows_can_be_shared,
        "strategy=ddp trainer.devices=2 strategy.context=2 llm.lora.rank=2 llm.lora.dropout=0.1",
        "strategy.context=2 draws no dropout that one process would draw; got llm.lora.dropout=0.1.\n"
        "  e.g.  llm.lora.dropout=0\n  or    strategy.context=1",
    ),
    (
        check.rows_can_be_shared,
        "strategy=ddp trainer.devices=2 strategy.context=2 trainer.micro_batch=auto",
        "trainer.micro_batch=auto tries micro-batches in one process, and strategy.context=2 needs 2.\n"
        "  type  trainer.micro_batch=given data.batch=ROWS",
    ),
    (
        check.packed_rows_have_known_lengths,
        "prune=dtd prune.above=0.5 data.packing=true",
        "data.packing=true does not go with prune=dtd as it is set: how many tokens stay depends on what is "
        "seen.\n"
        "  allowed: data.packing=false, or a pruner whose count is known\n"
        "  e.g.  data.packing=false   or  prune=evs",
    ),
    (
        check.windows_are_not_packed,
        "kv=vst data.packing=true",
        "data.packing=true does not go with kv=vst: windows of packed samples would share a memory.\n"
        "  allowed: data.packing=false, or another kv\n  e.g.  data.packing=false",
    ),
    (
        check.packed_weights_have_updates,
        "trainer.frozen=nf4",
        "trainer.frozen=nf4 packs weights beside LoRA's updates, and llm.lora.rank=0 has none.\n"
        "  e.g.  stage=lora trainer.frozen=nf4\n        trainer.frozen=bf16",
    ),
    (
        check.packed_weights_have_updates,
        "trainer.frozen=int8 stage=lora strategy=fsdp2 trainer.devices=2",
        "trainer.frozen=int8 does not go with strategy=fsdp2, which shards whole weights.\n"
        "  e.g.  strategy=ddp trainer.frozen=int8\n        strategy=fsdp2 trainer.frozen=bf16",
    ),
    (
        check.reconstruction_has_a_network,
        "stage=dts_reconstruct compressor=pool",
        "stage.objective=reconstruct trains the network of compressor=dts; vxl.compressor.pool.Pool has "
        "none.\n"
        "  allowed: compressor=dts, or a stage of another objective\n"
        "  e.g.  stage=align   or a recipe without this stage: 'recipe.stages=[{{stage: align}}, …]'",
    ),
    (
        check.name_is_a_folder,
        "name=../x",
        "name=../x is no folder name.\n"
        "  allowed: letters, digits and inside also - _ . = , + @ and /\n  e.g.  name=first",
    ),
]


@pytest.mark.parametrize(("rule", "words", "text"), CASES, ids=[f"{r.__name__}: {w}" for r, w, _ in CASES])
def test_a_rule_says_what_is_wrong(rule: check.Rule, words: str, text: str, default: TrainConfig) -> None:
    (found,) = problems(rule, *words.split())
    layers = default.llm.layers
    head, _, more = text.format(last=layers - 1, middle=layers // 2, more="{more}").partition("{more}")
    assert found == head if "{more}" not in text else found.startswith(head + more)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (check.video_fits_sequence, "compressor.ratio=6 data.max_tokens=8"),  # the ratio is reported alone
        (check.video_fits_sequence, "video.max_frames=0 data.max_tokens=8"),
        (check.packed_rows_have_known_lengths, "prune=dtd data.packing=true"),
        (check.packed_rows_have_known_lengths, "prune=vidcom2 data.packing=true"),
        (check.levels_have_something_to_pool, "kv=bilevel kv.pool=4"),
        (check.levels_have_something_to_pool, "kv=bilevel kv.pool=5 compressor.ratio=6"),
        (
            check.relevance_has_its_layers,
            "relevance.layers=[99] llm.weights=some/name",
        ),
        (check.devices_have_a_strategy, "strategy=hsdp trainer.devices=4 strategy.shard=2"),
        (
            check.rows_can_be_shared,
            "strategy=fsdp2 trainer.devices=4 strategy.context=2 llm.lora.dropout=0.1",
        ),
        (check.packed_weights_have_updates, "trainer.frozen=nf4 stage=lora"),
        (check.windows_are_not_packed, "data.packing=true"),
        (check.name_is_a_folder, "name='s/ratio=4,seed=1'"),
    ],
)
def test_a_rule_leaves_the_rest_alone(rule: check.Rule, words: str) -> None:
    assert problems(rule, *words.split()) == NONE


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, _, _ in CASES} == set(check.RULES)


def test_all_problems_come_at_once_and_each_once() -> None:
    made = config("video.max_frames=0", "compressor.ratio=6", "trainer.devices=2")
    with pytest.raises(ConfigError) as error:
        check.check_config(made)
    starts = [part.split("=")[0] for part in str(error.value).split("\n\n")]
    assert starts == ["video.max_frames", "compressor.ratio", "strategy"]


def test_a_plugin_that_is_a_kind_of_summarizing_may_not_be_packed_either(default: TrainConfig) -> None:
    packed = config("kv=vst", "data.packing=true")
    own = dataclasses.replace(packed, kv=dataclasses.replace(packed.kv, _target_="mylab.kv.Own"))
    assert len(list(check.windows_are_not_packed(own))) == 1


def test_a_video_has_to_fit_as_it_is_fed() -> None:
    whole = config()
    shape = plan(whole.compressor, whole.vision.grid)
    groups = shape.groups(whole.video.max_frames)
    visual = build(whole.prune).most_fed(groups, shape.tokens_per_group)
    assert visual == shape.tokens(whole.video.max_frames)
    short = dataclasses.replace(whole.data, max_tokens=visual)
    assert list(check.video_fits_sequence(dataclasses.replace(whole, data=short)))
    half = dataclasses.replace(config("prune=uniform", "prune.keep=0.5"), data=short)
    assert build(half.prune).most_fed(groups, shape.tokens_per_group) == visual // 2
    assert not list(check.video_fits_sequence(half))
