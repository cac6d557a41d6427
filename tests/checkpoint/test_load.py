import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import vxl
from tests.run_directories import CLIP, make_run
from vxl.checkpoint.load import pick_device
from vxl.checkpoint.resolved import read_config, with_changes
from vxl.errors import CheckpointError, ConfigError, DataError
from vxl.generate.loaded import Clip
from vxl.model import build_model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), "made")


def test_a_run_loads_by_name_path_and_checkpoint_folder(run: Path) -> None:
    places = {
        "made": {"runs": run.parent},
        str(run): {"checkpoint": "20"},
        str(run / "checkpoints" / "step-000020"): {},
    }
    wanted = build_model(vxl.load(run).config, seed=20).state_dict()
    for place, settings in places.items():
        loaded = vxl.load(place, device="cpu", **settings)
        assert loaded.checkpoint == run / "checkpoints" / "step-000020"
        assert not loaded.model.training
        for name, tensor in loaded.model.state_dict().items():
            assert torch.equal(tensor, wanted[name]), name


def test_an_earlier_checkpoint_has_its_own_weights(run: Path) -> None:
    wanted = build_model(vxl.load(run).config, seed=10).state_dict()
    loaded = vxl.load(run, checkpoint=10, device="cpu")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.model.state_dict().items())


def test_overrides_change_settings_and_parts(run: Path) -> None:
    loaded = vxl.load(run, overrides=["video.max_frames=64", "kv=streaming", "kv.tokens=32"], device="cpu")
    assert loaded.config.video.max_frames == 64
    assert type(loaded.model.policy).__name__ == "Streaming"
    assert loaded.config.kv.tokens == 32
    assert loaded.values["video"]["max_frames"] == 64


def test_a_config_file_alone_gives_random_weights(run: Path, tmp_path: Path) -> None:
    values = read_config(run / "resolved.yaml", ["weights=random", f"prompt.tokenizer={run / 'tokenizer'}"])
    (tmp_path / "resolved.yaml").write_text(yaml.safe_dump(values | {"seed": 10}))
    loaded = vxl.load(tmp_path / "resolved.yaml", device="cpu")
    assert loaded.checkpoint is None
    wanted = vxl.load(run, checkpoint=10, device="cpu").model.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.model.state_dict().items())


def test_a_config_file_may_name_weights(run: Path, tmp_path: Path) -> None:
    values = read_config(run / "resolved.yaml", [f"weights={run / 'checkpoints' / 'step-000010'}"])
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
    assert vxl.load(tmp_path / "a.yaml", device="cpu").checkpoint == run / "checkpoints" / "step-000010"
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(values | {"weights": "nowhere"}))
    with pytest.raises(
        CheckpointError, match="weights=nowhere: neither a run in runs/ nor a checkpoint folder"
    ):
        vxl.load(tmp_path / "b.yaml", device="cpu")


def test_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path, "young", steps=(1,))
    (run / "checkpoints" / "step-000001" / ".metadata").unlink()
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        vxl.load(run)


def test_a_run_that_is_not_there(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no run 'mad' in .*\n  did you mean made"):
        vxl.load("mad", runs=run.parent)


def test_watch_once_ask_often_about_videos_parts_images_and_nothing(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    from vxl.video.tiles import views_of

    loaded = vxl.load(run, device="cpu")
    pieces: list[tuple[int, int]] = []
    whole = loaded.watch(CLIP, on_piece=lambda *piece: pieces.append(piece))
    assert whole.frames == 16
    assert pieces[-1] == (4, 4)
    first = loaded.ask(whole, "What is shown in the video?", max_new_tokens=4)
    loaded.ask(whole, "Something else entirely?", max_new_tokens=4)
    assert loaded.ask(whole, "What is shown in the video?", max_new_tokens=4).tokens == first.tokens
    assert loaded.watch(Clip(CLIP.read_bytes(), start=1.0, end=2.0)).frames == 4
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    views = views_of(64, 48, 56, loaded.config.prompt.images)
    assert views > 1
    red = loaded.watch(tmp_path / "red.png")
    assert red.visual_tokens == views * loaded.model.compressor.tokens_per_group
    assert loaded.watch(CLIP, tmp_path / "red.png").frames == 16 + 4 * views
    nothing = loaded.watch()
    assert nothing.visual_tokens == 0
    assert len(loaded.ask(nothing, "Hello?", max_new_tokens=3).tokens) <= 3


def untrained(run: Path, *overrides: str) -> vxl.generate.loaded.LoadedModel:
    """The run's model with other parts, which its weights do not have."""
    given = ["weights=random", f"prompt.tokenizer={run / 'tokenizer'}", *overrides]
    return vxl.load(run / "resolved.yaml", device="cpu", overrides=given)


@pytest.mark.parametrize(
    "kv", [["kv=full"], ["kv=snapkv", "kv.of=visual"], ["kv=bilevel"], ["kv=vst", "kv.ratio=0"]]
)
def test_more_than_the_context_holds_is_refused(kv: list[str], run: Path) -> None:
    """With the question's tokens, whatever a policy does when the question comes."""
    loaded = untrained(run, *kv)
    context, question = loaded.watch(CLIP), loaded.prompt.tail("Who?", after_visual=True)
    most = context.tokens + len(question) - 1
    short = untrained(run, *kv, f"llm.max_positions={most}")
    with pytest.raises(DataError, match=f"{most + 1} tokens to read, .* trained for {most}"):
        short.ask(short.watch(CLIP), "Who?")
    fits = untrained(run, *kv, f"llm.max_positions={most + 1}")
    assert fits.ask(fits.watch(CLIP), "Who?", max_new_tokens=1).prefill_ms > 0


def test_a_video_that_is_too_long_is_refused_before_it_is_decoded(run: Path) -> None:
    loaded = untrained(run, "llm.max_positions=64")
    seen: list[int] = []
    with pytest.raises(DataError) as caught:
        loaded.watch(CLIP, on_piece=lambda done, _: seen.append(done))
    assert seen == []
    tokens = untrained(run).watch(CLIP).tokens
    fit = 16 * 64 // tokens
    assert str(caught.value) == (
        f"{tokens} tokens to read, but the language model was trained for 64.\n"
        f"  {fit} of the 16 frames fit:  video.max_frames={fit}\n"
        "  a bounded cache:  kv=streaming\n"
        "  all of it, at positions that it was not trained for:  llm.extrapolate=true"
    )
    assert untrained(run, "llm.max_positions=64", f"video.max_frames={fit}").watch(CLIP).tokens <= 64


@pytest.mark.parametrize("override", ["llm.extrapolate=true", "kv=streaming", "kv=vst"])
def test_what_goes_on_beyond_the_context(override: str, run: Path) -> None:
    """By choice; or with a policy under which nothing is far away."""
    loaded = untrained(run, "llm.max_positions=64", "prompt.time_text=null", "compressor.ratio=4", override)
    context = loaded.watch(CLIP)
    assert context.tokens > 64
    assert loaded.ask(context, "Who?", max_new_tokens=2).prefill_ms > 0


def test_a_run_was_trained_for_its_own_longest_rows(run: Path) -> None:
    for most in (32, 99999):
        overrides = ["llm.max_positions=64", f"data.max_tokens={most}"]
        assert vxl.load(run, device="cpu", overrides=overrides).most == max(64, most)


def test_a_kept_context_knows_how_long_it_may_get(run: Path, tmp_path: Path) -> None:
    vxl.save_context(vxl.load(run, device="cpu").watch(CLIP), tmp_path / "kept")
    loaded = vxl.load(run, device="cpu", overrides=["data.max_tokens=32", "llm.max_positions=64"])
    with pytest.raises(DataError, match="tokens to read, but the language model was trained for 64"):
        loaded.ask(vxl.load_context(tmp_path / "kept", loaded), "Who?")


def test_what_is_watched_is_what_training_sees(run: Path) -> None:
    """Prompt, frames and times of training and of `watch` are the same, so what was learned holds here."""
    from vxl.data.batch.answer import format_question
    from vxl.data.batch.collate import collate
    from vxl.data.batch.examples import Examples
    from vxl.data.batch.prompt import turns_of
    from vxl.data.sample import Question, Sample, SampleWithMedia, Visual
    from vxl.option.build import build
    from vxl.video.probe import probe

    loaded = vxl.load(run, device="cpu")
    info = probe(CLIP)
    visual = Visual("video", CLIP.name, info.frames, info.fps, info.seconds)
    question = Question("What is shown?", ("A beach", "Skyscrapers"), "B")
    sample = Sample("k", visuals=(visual,), question=question)
    examples = Examples(loaded.prompt, build(loaded.config.video), loaded.config.vision.pixels)
    example = examples.make(SampleWithMedia(sample, (str(CLIP),)), seed=0)
    output = loaded.model(collate([[example]], loaded.prompt.pad))
    answer = loaded.ask(loaded.watch(CLIP), format_question(question), max_new_tokens=1)
    assert len(turns_of(sample)) == 2
    assert answer.tokens == (int(loaded.model.llm.logits(output.hidden_SD[0]).argmax()),)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "video.max_frame=3",
            "video.max_frame=3: there is no key video.max_frame.\n"
            "  did you mean video.max_frames or video.max_fps?\n  valid keys: max_frames, max_fps",
        ),
        ("vido.max_frames=3", "did you mean video?"),
        ("kv=stream", "there is no option kv=stream.\n  did you mean kv=streaming?\n  options of kv: "),
        ("seed.x=3", "there is no key seed."),
        ("seed", "'seed' changes nothing.\n  form: KEY=VALUE or GROUP=NAME"),
    ],
)
def test_overrides_that_name_nothing(override: str, message: str) -> None:
    values = {"seed": 1, "video": {"_target_": "x", "max_frames": 1, "max_fps": 2}, "kv": {"_target_": "y"}}
    with pytest.raises(ConfigError) as caught:
        with_changes(values, [override])
    assert message in str(caught.value)


def test_changed_leaves_the_original_alone() -> None:
    values = {"video": {"max_frames": 1}}
    assert with_changes(values, ["video.max_frames=2"]) == {"video": {"max_frames": 2}}
    assert values == {"video": {"max_frames": 1}}


def test_texts_and_lists_of_texts_are_told_apart(run: Path) -> None:
    loaded = vxl.load(run, overrides="kv=streaming")
    assert type(loaded.config.kv).__name__ == "StreamingConfig"
    with pytest.raises(ConfigError, match="names nothing"):
        vxl.load(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a list of texts"):
        loaded.ask_all(loaded.watch(), "What?")


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist: the run failed before it began"):
        read_config(tmp_path / "resolved.yaml")
    (tmp_path / "a.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match="is not a resolved config"):
        read_config(tmp_path / "b.yaml")


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="device=cuda:99, but there are"):
        pick_device("cuda:99")
    with pytest.raises(ConfigError, match=r"device=gpu is no device\.\n  allowed: auto, cpu, cuda"):
        pick_device("gpu")


@pytest.mark.slow
def test_loading_needs_neither_hydra_nor_lightning_nor_wandb(run: Path) -> None:
    code = f"""
import sys
for name in ("hydra", "omegaconf", "lightning", "wandb", "torchvision"):
    sys.modules[name] = None
import vxl
loaded = vxl.load({str(run)!r}, device="cpu")
print(loaded.ask(loaded.watch({str(CLIP)!r}), "What?", max_new_tokens=1).cache_bytes > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
