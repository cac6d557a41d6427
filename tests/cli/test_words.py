"""Which words of a command are settings, files, questions."""

from pathlib import Path

import pytest

from vxl.cli.ask import _options
from vxl.cli.ask_words import video_and_questions
from vxl.cli.words import sort_words
from vxl.config.compose import quoted
from vxl.errors import ConfigError


@pytest.mark.parametrize("word", ["w" * 300, "世" * 100, "a\0b", "word " * 20_000, "k=" + "v" * 400])
def test_no_word_is_too_long_to_be_looked_for(word: str) -> None:
    words = sort_words([word])
    assert [*words.rest, *(f"{key}={value}" for key, value in words.settings.items())] == [word]


@pytest.mark.parametrize(
    "word", ["x=3 is written: what is x?", "answer=42 seems right, is it?", "a=b?", "x=3？"]
)
def test_a_sentence_with_an_equals_sign_is_a_question(word: str) -> None:
    assert sort_words([word]).rest == [word]


@pytest.mark.parametrize(
    "word",
    ["options=a red car|a blue one", "stop=the end", "prompt.system=Be brief.", "optoins=a b|c d", "x=3"],
)
def test_settings_may_hold_spaces(word: str) -> None:
    assert list(sort_words([word]).settings) == [word.partition("=")[0]]


def test_files_are_told_from_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.webm", "a=b.mp4", "14:05.mp4"):
        (tmp_path / name).touch()
    settings = {"model": "tiny"}
    long = "what is this " * 30 + "?"
    for video in ("a.mp4", "a=b.mp4", "14:05.mp4"):
        rest = sort_words([video, long]).rest
        assert video_and_questions(rest, settings, tmp_path) == (video, [long])
    for other in ("b.webm", "gone.mp4"):
        with pytest.raises(ConfigError, match=rf"watches one video; got 2: a.mp4, {other}"):
            video_and_questions(["a.mp4", other, "Which is longer?"], settings, tmp_path)
    with pytest.raises(ConfigError, match="bytes that are not UTF-8"):
        video_and_questions(["a.mp4", "what \udcff?"], settings, tmp_path)


def test_a_question_that_was_taken_for_a_setting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    words = sort_words(["a.mp4", "model=tiny", "kv=streaming is what?"])
    with pytest.raises(ConfigError, match=r"taken for settings: kv=streaming is what\?"):
        video_and_questions(words.rest, words.settings, tmp_path)


def test_options_may_bring_their_letters() -> None:
    assert _options("A. red|B. green") == ("red", "green")
    assert _options("A. red|green") == ("A. red", "green")


@pytest.mark.parametrize("name", ["2024_05_01", "1.10", "12e5", "007", "ü", "true", "a b", "run=1", "inf"])
def test_a_name_is_a_name_and_no_number(name: str) -> None:
    assert quoted(f"name={name}") == f"name='{name}'"


@pytest.mark.parametrize(
    "word", ["name=null", "name='1.10'", "name=a,b", "name=[a]", "seed=1.10", "name=${seed}"]
)
def test_what_is_no_plain_name_is_left_to_hydra(word: str) -> None:
    assert quoted(word) == word
