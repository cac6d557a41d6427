import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from tests.run_directories import CLIP, finish, make_run
from vxl.cli.ask import run_ask
from vxl.cli.words import sort_words
from vxl.errors import CheckpointError, ConfigError, DataError
from vxl.units import printable


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("runs"), "made")
    finish(run)
    return run.parent


def asked(root: Path, *words: str) -> tuple[list, str]:
    """The answers, and what was said beside them."""
    console = Console(file=io.StringIO(), width=200)
    found = run_ask(sort_words([f"paths.runs={root}", "device=cpu", *words]), console)
    return found, console.file.getvalue()


def test_words_stand_in_any_order(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run=made", str(CLIP), "What is shown in the video?", "max_new_tokens=5"]
    (first,), said = asked(root, *words)
    printed = capsys.readouterr().out
    assert printed.strip().removesuffix("…").strip() == first.text
    assert "made, step-000020" in said
    assert "16 frames, 16 visual tokens" in said
    (second,), _ = asked(root, *words[::-1])
    assert second.tokens == first.tokens
    assert 1 <= len(first.tokens) <= 5


def test_several_questions_are_asked_of_one_watching(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers, said = asked(root, "run=made", str(CLIP), "First?", "Second, of x=3?", "max_new_tokens=3")
    assert len(answers) == 2
    assert said.count("watched in") == 2
    alone, _ = asked(root, "run=made", str(CLIP), "Second, of x=3?", "max_new_tokens=3")
    assert alone[0].tokens == answers[1].tokens


def test_overrides_reach_the_model(root: Path) -> None:
    _, said = asked(root, "run=made", str(CLIP), "Q?", "video.max_frames=8", "max_new_tokens=1")
    assert "8 frames, 8 visual tokens" in said
    _, said = asked(
        root, "run=made", str(CLIP), "Q?", "start=1", "end=2", "max_new_tokens=1", "checkpoint=10"
    )
    assert "step-000010" in said
    assert "4 frames" in said


def test_options_are_lettered_and_the_letter_is_read(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def answer(self: object, context: object, question: str, **settings: object) -> object:
        seen.append(question)
        settings["on_text"](0, "B")  # type: ignore[operator]
        from vxl.generate import Answer

        return Answer("B", (1,), True, 1.0, 1.0, 1.0, 1, 0, None)

    monkeypatch.setattr("vxl.generate.loaded.LoadedModel.ask", answer)
    asked(root, "run=made", str(CLIP), "What is shown?", "options=A beach | Skyscrapers")
    assert seen[0].startswith("What is shown?\nA. A beach\nB. Skyscrapers\n")
    assert capsys.readouterr().out == "B  (Skyscrapers)\n"


def test_an_answer_ends_at_a_string_and_may_be_drawn(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run=made", str(CLIP), "What is shown?", "max_new_tokens=12"]
    (whole,), _ = asked(root, *words)
    capsys.readouterr()
    inside = whole.text[2:4]
    (cut,), _ = asked(root, *words, f"stop=nowhere in it|{inside}")
    assert cut.text == whole.text[: whole.text.index(inside)].strip()
    assert capsys.readouterr().out.strip() == printable(cut.text)
    (drawn,), _ = asked(root, *words, "temperature=5")
    assert drawn.tokens != whole.tokens


def test_a_kept_context_is_asked_again(root: Path, tmp_path: Path) -> None:
    kept = f"context={tmp_path / 'kept'}"
    (first,), said = asked(root, "run=made", str(CLIP), "Q?", "max_new_tokens=4", kept)
    assert "kept: " in said
    words = ["run=made", "Q?", "max_new_tokens=4", kept]
    for more in ([], [str(CLIP)]):
        (again,), said = asked(root, *words, *more)
        assert (again.tokens, "kept: " in said) == (first.tokens, False)
        assert "kept from before" in said
        assert "watched in" not in said
    with pytest.raises(ConfigError) as caught:
        asked(root, *words, str(CLIP), "end=2")
    assert "is of something else.\n  end: None there, 2.0 here\n" in str(caught.value)
    with pytest.raises(CheckpointError, match="was watched by another model"):
        asked(root, *words, "checkpoint=10")


def test_a_folder_of_frames_is_a_video_where_its_rate_is_said(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for n in range(12):
        Image.new("RGB", (32, 24), (20 * n, 0, 255 - 20 * n)).save(folder / f"{n + 1}.png")
    kept = ["run=made", "What changes?", "max_new_tokens=3", f"context={tmp_path / 'kept'}"]
    words = ["video.fps=1", "video.max_frames=4", str(folder)]
    (first,), said = asked(root, *kept, *words, "fps=2")
    assert "4 frames, 4 visual tokens" in said
    (again,), said = asked(root, *kept, *words, "fps=2")
    assert again.tokens == first.tokens
    assert "kept from before" in said
    with pytest.raises(ConfigError, match=r"fps: 2.0 there, 3.0 here"):
        asked(root, *kept, *words, "fps=3")
    (folder / "12.png").write_bytes((folder / "1.png").read_bytes())
    with pytest.raises(ConfigError, match=r"context=.* is of something else"):
        asked(root, *kept, *words, "fps=2")
    with pytest.raises(ConfigError, match=r"is a folder: of frames, how many a second"):
        asked(root, "run=made", str(folder), "What changes?")
    with pytest.raises(ConfigError, match=r"leave out  fps="):
        asked(root, "run=made", str(CLIP), "What changes?", "fps=2")
    for rate in ("0", "inf", "x"):
        with pytest.raises(ConfigError, match=f"fps={rate} is"):
            asked(root, "run=made", str(folder), "What changes?", f"fps={rate}")


def test_a_model_of_choices_with_a_runs_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(CLIP), "What is shown?", "max_new_tokens=4"]
    (by_run,), _ = asked(root, "run=made", *words)
    (by_weights,), said = asked(
        root, "model=tiny", "weights=made", "video.max_frames=16", "compressor.ratio=16", *words
    )
    assert by_weights.tokens == by_run.tokens
    assert "step-000020" in said


def test_random_weights_say_so(root: Path, tmp_path: Path) -> None:
    tokenizer = f"prompt.tokenizer={root / 'made' / 'tokenizer'}"
    config = tmp_path / "resolved.yaml"
    config.write_text((root / "made" / "resolved.yaml").read_text())
    _, said = asked(root, f"run={config}", tokenizer, str(CLIP), "Q?", "max_new_tokens=1")
    assert "tiny with random weights: it has learned nothing" in said


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["run=mad", str(CLIP), "Q?"], ConfigError, "there is no run 'mad' in"),
        (
            ["runs=made", str(CLIP), "Q?"],
            ConfigError,
            "needs a model: run=NAME, weights=FOLDER or model=NAME.\n  did you mean run=made?",
        ),
        ([str(CLIP), "Q?"], ConfigError, "finished runs: made\n"),
        (["run=made", "Q?"], ConfigError, "vxl ask needs a video.\n  got: 'Q?'"),
        (["run=made", str(CLIP)], ConfigError, "needs a question about"),
        (["run=made", "missing.mp4", "Q?"], DataError, "missing.mp4: no such file."),
        (["run=made", str(CLIP), "Q?", "max_new_token=3"], ConfigError, "did you mean max_new_tokens?"),
        (["run=made", str(CLIP), "Q?", "max_new_tokens=x"], ConfigError, "max_new_tokens=x is no number."),
        (["run=made", str(CLIP), "Q?", "max_new_tokens=0"], ConfigError, "max_new_tokens=0 is too small."),
        (
            ["run=made", str(CLIP), "Q?", "video.max_frames=x"],
            ConfigError,
            "video.max_frames=x has the wrong type",
        ),
        (["run=made", str(CLIP), "Q?", "options=a"], ConfigError, "expected: 2 to 26, as"),
        (["run=made", str(CLIP), "Q?", "options=a|b|a"], ConfigError, "holds 'a' twice"),
        (["run=made", str(CLIP), " "], ConfigError, "a question is empty"),
        (["run=made", "Q?", "context=gone"], ConfigError, "context= holds nothing that was watched before"),
        (["run=made", str(CLIP), "Q?", "temperature=hot"], ConfigError, "e.g.  temperature=0.7"),
        (["run=made", str(CLIP), "Q?", "optim.lr=3"], ConfigError, "optim.lr=3 has no effect on"),
        (["run=made", str(CLIP), "Q?", "weights=random"], ConfigError, "weights=random has no effect on"),
        (["run=made", str(CLIP), "Q?", "checkpoint=7"], CheckpointError, "choose one of: last, 10, 20"),
        (["run=made", str(CLIP), "Q?", "start=90"], DataError, "no frame between 90 s and"),
        (["model=tyni", str(CLIP), "Q?"], ConfigError, "did you mean model=tiny?"),
        (["model=tiny", "compresor.ratio=4", str(CLIP), "Q?"], ConfigError, "compressor"),
        (["model=tiny", "weights=nope", str(CLIP), "Q?"], CheckpointError, "weights=nope: neither a run in"),
        (["model=tiny", "checkpoint=3", str(CLIP), "Q?"], ConfigError, "name the run:  run=NAME"),
    ],
)
def test_mistakes_say_what_to_type(
    root: Path, words: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        asked(root, *words)
    assert message in str(caught.value)


def test_a_truncated_video_is_refused(root: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(CLIP.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"cut\.mp4"):
        asked(root, "run=made", str(cut), "Q?")


def test_a_terminal_is_asked_for_questions_where_there_are_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["What is shown?", "bytes \udcff?", "And what moves?", ""])
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    words = [f"paths.runs={root}", "device=cpu", "run=made", str(CLIP), "max_new_tokens=3"]
    answers = run_ask(sort_words(words), console)
    assert len(answers) == 2
    assert list(typed) == []
    printed = capsys.readouterr()
    assert "it holds bytes that are not UTF-8" in printed.err
    alone, _ = asked(root, "run=made", str(CLIP), "And what moves?", "max_new_tokens=3")
    assert alone[0].tokens == answers[1].tokens

    def ends(*_: object) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ends)
    assert run_ask(sort_words(words), console) == []
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(ConfigError, match="needs a question about"):
        run_ask(sort_words(words), console)
