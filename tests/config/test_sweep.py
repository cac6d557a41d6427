"""What runs a command makes, and what the sweep of them is called."""

import pytest

from vxl.config.sweep import Sweep, plan_sweep
from vxl.errors import ConfigError
from vxl.option.files import CONF


@pytest.fixture
def plan(tmp_path):
    def planned(*words: str, room: bool = False) -> Sweep:
        """The sweep; whether videos have room is asked of each member's config, unless rows are typed."""
        more = [] if room else ["data.max_tokens=2048"]
        sweep = plan_sweep([*words, *more, f"paths.runs={tmp_path}", "logger=csv"], False, [CONF])
        assert sweep is not None
        return sweep

    return planned


def test_one_value_each_is_no_sweep():
    assert plan_sweep(["seed=1", "model=tiny"], False, [CONF]) is None
    alone = plan_sweep(["seed=1"], True, [CONF])
    assert alone is not None
    assert alone.members[0][-1] == "sweep_member='only'"


def test_a_sweep_is_what_it_varies_and_what_identifies_the_rest(plan):
    two = "compressor.ratio=4,16"
    first = plan("+sweep=compression", two, "data.workers=1", "trainer.max_steps=30")
    same = [
        plan("+sweep=compression", two, "data.workers=2", "trainer.max_steps=60"),  # as of a single run
        plan("sweep=compression", "trainer=default", "checkpoint.every=7"),  # and a member more
        plan("+sweep=compression", "compressor.ratio=8,64"),  # all of them others
        plan("+sweep=compression", two, "strategy=ddp", "cluster=slurm", "trainer.devices=2"),
    ]
    assert {sweep.name for sweep in same} == {first.name}
    other = [
        plan("+sweep=compression", two, "optim.lr=1e-3"),
        plan("+sweep=compression", two, "seed=3"),
        plan("+sweep=[compression,seeds]", two, "seed=0,1"),
    ]
    assert len({sweep.name for sweep in [first, *other]}) == 4


def test_a_member_that_is_added_joins_under_whatever_label(plan):
    first = plan("+sweep=compression")
    first.folder.mkdir(parents=True)
    assert plan("compressor.ratio=4,8").name == first.name


def test_a_sweep_that_was_named_by_its_text_keeps_its_name(plan, tmp_path):
    """The digest is of the command's words, as it was before identities."""
    (tmp_path / "compression-d5e849").mkdir()
    assert plan("+sweep=compression", room=True).name == "compression-d5e849"
    assert plan("+sweep=compression", "data.workers=2").name != "compression-d5e849"


def test_what_a_base_lacks_without_a_swept_key_is_taken_from_a_member(plan):
    first = plan("kv=streaming,snapkv", "kv.keep=0.5")
    assert [member[:2] for member in first.members] == [
        ["kv=streaming", "kv.keep=0.5"],
        ["kv=snapkv", "kv.keep=0.5"],
    ]
    assert plan("kv=snapkv,streaming", "kv.keep=0.5", "data.workers=3").name == first.name


def test_glob_chooses_among_a_groups_options(plan):
    sweep = plan("compressor=glob(p*)")
    assert [member[0] for member in sweep.members] == ["compressor=pool"]
    assert "sweep_member='compressor=pool'" in sweep.members[0]
    with pytest.raises(ConfigError, match=r"matches no option of compressor\.\n  options of compressor: dts"):
        plan("compressor=glob(x*)")


def test_range_and_choice_list_values(plan):
    assert [member[0] for member in plan("seed=range(1,4)").members] == ["seed=1", "seed=2", "seed=3"]
    assert [member[0] for member in plan("seed=choice(5,7)").members] == ["seed=5", "seed=7"]


def test_an_interval_has_no_values():
    with pytest.raises(ConfigError, match=r"optim.lr=interval\(0,1\) names no values"):
        plan_sweep(["optim.lr=interval(0,1)"], False, [CONF])


def test_a_sweep_that_does_not_exist():
    with pytest.raises(ConfigError, match=r"sweep=nothing does not exist\.\n  sweeps: compression, seeds"):
        plan_sweep(["+sweep=nothing"], False, [CONF])


def test_two_sweeps_with_a_comma_are_crossed(plan):
    """As `+sweep=[compression,seeds]`; before, the message named a class of Hydra's."""
    assert (
        len(plan("+sweep=compression,seeds").members) == len(plan("+sweep=[compression,seeds]").members) == 9
    )
    with pytest.raises(ConfigError, match=r"^sweep=nothing does not exist"):
        plan("+sweep=compression,nothing")


def test_what_is_wrong_with_a_member_is_known_before_the_first_begins(plan):
    """Also in the middle; one whose words make no config is called as they were typed."""
    sweep = plan("compressor.ratio=4,5,16")
    assert list(sweep.refused) == [1]
    assert str(sweep.refused[1]).startswith("compressor.ratio=5 does not fit")
    assert sweep.member(sweep.members[1]).name == "ratio=5"
    assert sweep.sound == [sweep.members[0], sweep.members[2]]
    sweep = plan("kv=recent,full,snapkv", "kv.keep=0.5,0.25")
    assert list(sweep.refused) == [2, 3]
    assert str(sweep.refused[3]).startswith("kv.keep=0.25: kv.keep is not a key.")
    assert [sweep.member(words).name for words in sweep.members[2:4]] == [
        "kv=full,keep=0.5",
        "kv=full,keep=0.25",
    ]


def test_what_is_wrong_with_all_members_refuses_the_sweep(plan):
    with pytest.raises(ConfigError, match=r"^compressor.ratio=5 does(.|\n)*\n\ncompressor.ratio=7 does"):
        plan("compressor.ratio=5,7")


def test_values_that_are_none_the_same_or_too_many(plan):
    assert [member[0] for member in plan("seed=2,1,2").members] == ["seed=2", "seed=1"]
    with pytest.raises(ConfigError, match=r"^seed=range\(3,1\) lists no value"):
        plan("seed=range(3,1)")
    with pytest.raises(ConfigError, match=r"make 99,999 members"):
        plan("seed=range(1,100000)")
    with pytest.raises(ConfigError, match=r"^a sweep has one name"):
        plan("name=a,b")
