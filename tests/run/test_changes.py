import dataclasses

import pytest

from tests.train.quick_training import Config, DataConfig, Paths
from vxl.logger.csv import CsvConfig
from vxl.logger.wandb import WandbConfig
from vxl.option.rebuild import plain
from vxl.run.changes import config_fingerprint, differences, identity
from vxl.train.parallel.strategy import DDPConfig, FSDP2Config, SingleConfig
from vxl.train.saving.retention import RetentionConfig


def changed(config, **parts):
    """The config with keys replaced: a part's as a dict, others as they are."""
    made = {
        name: dataclasses.replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in parts.items()
    }
    return dataclasses.replace(config, **made)


def found(new, old=None):
    return {d.key: (d.old, d.new, d.resumable) for d in differences(plain(old or Config()), new)}


def test_an_equal_config_has_no_differences():
    assert found(Config()) == {}


def test_a_changed_key_stops_a_run_and_shows_both_values():
    assert found(changed(Config(), seed=3, optim={"lr": 0.5})) == {
        "optim.lr": (0.02, 0.5, False),
        "seed": (0, 3, False),
    }


@pytest.mark.parametrize(
    "parts",
    [
        {"checkpoint": RetentionConfig(every=7)},
        {"trainer": {"val_every": 1, "log_every": 9}},
        {"data": {"workers": 2}},
        {"trainer": {"max_steps": 60}},
        {"logger": WandbConfig(tags=["x"])},
    ],
)
def test_resumable_keys_change_neither_the_identity_nor_stop_a_run(parts):
    new = changed(Config(), **parts)
    assert config_fingerprint(new) == config_fingerprint(Config())
    assert found(new)
    assert all(resumable for _, _, resumable in found(new).values())


def test_another_logger_is_resumable_both_ways():
    wandb = changed(Config(), logger=WandbConfig())
    assert all(resumable for _, _, resumable in found(wandb).values())
    back = found(changed(Config(), logger=CsvConfig()), old=wandb)
    assert back["logger.project"] == ("vxl", "(absent)", True)
    assert all(resumable for _, _, resumable in back.values())


def test_micro_batches_may_change_at_the_same_global_batch_only():
    same = found(changed(Config(), data={"batch": 8}, trainer={"accumulate": 1}))
    assert same == {"data.batch": (4, 8, True), "trainer.accumulate": (2, 1, True)}
    (other,) = differences(plain(Config()), changed(Config(), data={"batch": 8}))
    assert not other.resumable
    assert other.reason == "the global batch would change from 8 to 16 rows"


def test_fewer_steps_stop_a_run():
    (difference,) = differences(plain(Config()), changed(Config(), trainer={"max_steps": 5}))
    assert (difference.resumable, difference.reason) == (False, "only a larger number lets the run go on")


def test_places_are_no_identity_and_are_not_compared():
    moved = changed(Config(), paths=Paths(runs="/elsewhere"), name="x", on_existing="fail", sweep_name="s")
    assert found(moved) == {}
    assert identity(moved) == identity(Config())


def test_what_identifies_a_run_is_in_its_hash():
    others = [
        changed(Config(), seed=1),
        changed(Config(), data=DataConfig(scale=2.0)),
        changed(Config(), stage={"train": ["llm"]}),
        changed(Config(), optim={"warmup": 0.5}),
        changed(Config(), init_from="a"),
    ]
    assert len({config_fingerprint(Config()), *map(config_fingerprint, others)}) == len(others) + 1


def test_a_run_goes_on_under_a_strategy_with_other_keys(tmp_path):
    """Keys that only one of them has are no difference that counts."""
    sharded = dataclasses.replace(Config(paths=Paths(runs=str(tmp_path))), strategy=FSDP2Config())
    single = dataclasses.replace(sharded, strategy=SingleConfig())
    found = differences(plain(sharded), single)
    assert {d.key for d in found} == {"strategy._target_", "strategy.reshard", "strategy.offload"}
    back = differences(plain(single), sharded)
    assert {d.key for d in back} == {"strategy._target_"}  # the other keys have their defaults
    assert all(d.resumable for d in [*found, *back])


def test_a_smaller_global_batch_is_another_run_too():
    (other,) = differences(plain(Config()), changed(Config(), data={"batch": 2}))
    assert not other.resumable
    assert other.reason == "the global batch would change from 8 to 4 rows"


def test_processes_that_share_rows_leave_the_global_batch_alone(tmp_path):
    one = Config(paths=Paths(runs=str(tmp_path)))
    shared = changed(one, strategy=DDPConfig(context=2), trainer={"devices": 2})
    assert all(d.resumable for d in differences(plain(one), shared))
    assert {d.key for d in differences(plain(one), shared)} >= {"strategy.context", "trainer.devices"}
    apart = dataclasses.replace(shared, strategy=DDPConfig())
    refused = [d for d in differences(plain(shared), apart) if not d.resumable]
    assert [(d.key, d.reason) for d in refused] == [
        ("strategy.context", "the global batch would change from 8 to 16 rows")
    ]
