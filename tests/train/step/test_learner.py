"""What a stage without a language model trains: its loss, its parts, and what is refused."""

import pytest
import torch

from tests.data.talking import PLAN, tokenizer
from tests.small_model import frames, model, settings
from tests.train_configs import train_settings
from vxl.checkpoint.load import load
from vxl.checkpoint.run_weights import open_run
from vxl.checkpoint.step_folder import choose_step
from vxl.compressor.base import plan
from vxl.config.compose import compose
from vxl.data.batch.collate import Example, collate
from vxl.data.batch.encoded import Shown
from vxl.data.batch.examples import without_labels
from vxl.data.batch.prompt import PromptConfig
from vxl.data.batch.visuals_alone import VisualsAlone
from vxl.data.clips import ClipsConfig
from vxl.data.sample import Sample
from vxl.errors import CheckpointError, ConfigError
from vxl.llm.decoder import Decoder
from vxl.model import VideoLanguageModel
from vxl.train.parallel.sharding import units
from vxl.train.report.throughput import flops_of
from vxl.train.step.learner import Reconstruction, build_learner
from vxl.train.step.micro_batch import fits_in_memory, longest_rows
from vxl.train.step.stage import StageConfig, freeze, part_of, train_mode

STAGE = StageConfig(train=["compressor"], objective="reconstruct")


def learner(**changes) -> Reconstruction:
    built = build_learner(train_settings(settings(**changes), stage=STAGE))
    freeze(built, STAGE)
    train_mode(built, STAGE)
    return built


def example(*groups: int, seed: int = 0) -> Example:
    """A sample of videos of so many groups each."""
    shape = plan(settings().compressor, settings().vision.grid)
    prompt = VisualsAlone(PromptConfig(), tokenizer(), shape)
    shown = [Shown("video", tuple(map(float, range(4 * number)))) for number in groups]
    return Example(prompt.training(Sample("s"), shown), frames(4 * sum(groups), seed))


def test_the_loss_is_the_mean_error_of_the_groups() -> None:
    built = learner().eval()
    batch = collate([[example(2)], [example(1, 2, seed=1)], [example()]], pad=0)
    output = built(batch)
    assert output.supervised == batch.supervised == batch.visual_tokens == 5 * PLAN.tokens_per_group * 2
    each_G2 = built.compressor(built.vision(batch.frames_FCHW))
    both = torch.stack([output.loss_sum, output.baseline_sum]) / output.supervised
    torch.testing.assert_close(both, each_G2.mean(0))
    halves = [built(collate([[part]], pad=0)).loss_sum for part in (example(2), example(1, 2, seed=1))]
    torch.testing.assert_close(output.loss_sum, sum(halves))


def test_a_sample_that_only_fills_up_counts_for_nothing() -> None:
    built = learner().eval()
    alone = built(collate([[example(2)]], pad=0)).loss_sum
    filled = collate([[example(2)], [without_labels(example(1, seed=3))]], pad=0)
    torch.testing.assert_close(built(filled).loss_sum, alone)


@pytest.mark.parametrize("groups", [(2,), ()])
def test_the_compressor_learns_and_the_tower_does_not(groups: tuple[int, ...]) -> None:
    built = learner()
    torch.manual_seed(0)  # one pass of thirty draws no patch to mask, and goes without the guide
    loss = built(collate([[example(*groups)]], pad=0)).loss_sum
    loss.backward()
    assert torch.isfinite(loss)
    assert bool(loss) == bool(groups)
    silent = {part_of(name) for name, p in built.named_parameters() if p.grad is None}
    assert silent == {"vision"}
    assert not built.vision.training
    assert built.compressor.training


def test_the_tower_and_the_network_are_those_of_the_whole_model() -> None:
    ours, whole = learner().state_dict(), model().state_dict()
    shared = ours.keys() & whole.keys()
    assert {name for name in whole if name.startswith(("vision.", "compressor.dts."))} == shared
    assert all(ours[name].shape == whole[name].shape for name in shared)
    assert all(torch.equal(ours[name], whole[name]) for name in shared if name.startswith("vision."))
    assert not any(isinstance(module, Decoder) for module in learner().modules())


def test_another_objective_is_the_whole_model() -> None:
    assert isinstance(build_learner(train_settings()), VideoLanguageModel)


def test_whoever_trains_finds_its_parts() -> None:
    built = learner()
    assert list(units(built))[-1] is built.compressor
    flops = flops_of(built, 1.0)
    assert flops.frame["compressor"].trained > 0
    assert flops.frame["projector"].step == flops.token.step == flops.head.step == 0
    config = train_settings(data=ClipsConfig(max_tokens=32))
    cpu = torch.device("cpu")
    assert fits_in_memory(built, longest_rows(config, 2), "32-true", cpu, limit=10**9)
    assert not fits_in_memory(built, longest_rows(config, 2), "32-true", cpu, limit=1000)


def test_a_compressor_without_a_network_and_other_parts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"of compressor=dts; vxl\.compressor\.none\.Uncompressed has none"):
        compose("train", ["stage=dts_reconstruct", "compressor=none", "video.max_frames=4"])
    with pytest.raises(ConfigError, match=r"stage\.objective=reconstruct with stage\.train=\[comp"):
        compose("train", ["stage=dts_reconstruct", "stage.train=[compressor,llm]"])


def test_a_run_of_it_can_not_be_asked(tmp_path) -> None:
    from tests.run_directories import make_run

    run = make_run(tmp_path, "dts", "stage=dts_reconstruct", steps=(1,))
    for refused in (lambda: load(run), lambda: open_run(run, choose_step(run))):
        with pytest.raises(CheckpointError) as caught:
            refused()
        assert str(caught.value) == (
            f"{run} has no language model: it trained the compressor alone (stage.objective=reconstruct).\n"
            f"  go on with it:  python train.py model=tiny init_from={run} stage=align"
        )
