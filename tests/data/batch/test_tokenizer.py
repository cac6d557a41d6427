"""Training, keeping and loading tokenizers."""

import json
from dataclasses import replace

import pytest

from tests.data.talking import WORDS, tokenizer
from vxl.checkpoint.tokenizer import tokenizer_of
from vxl.data.batch.prompt import PromptConfig, special_ids
from vxl.data.batch.tokenizer import keep_tokenizer, load_tokenizer, save_tokenizer, train_tokenizer
from vxl.errors import ConfigError
from vxl.llm.decoder import DecoderConfig
from vxl.run.config import PathsConfig


def test_the_same_texts_give_the_same_tokenizer():
    texts = ["The rabbit crawls out.", "The rabbit lowers its arms.", "A cat."] * 3
    one, two = (train_tokenizer(texts, 400).backend_tokenizer.to_str() for _ in range(2))
    assert one == two


def test_digits_are_tokens_of_their_own():
    trained = train_tokenizer(["1234 1234 1234", "Time 12.5s:"] * 20, 600)
    assert trained.tokenize("Time 12.5s:")[-6:-2] == ["1", "2", ".", "5"]


def test_option_letters_are_the_same_token_in_the_question_and_in_the_answer():
    texts = ["Which?\nA. red\nB. green\nC. blue\nD. yellow"] * 50
    trained = train_tokenizer(texts, 600)
    in_question = trained.encode(texts[0], add_special_tokens=False)
    for letter in "ABCD":
        (alone,) = trained.encode(letter, add_special_tokens=False)
        assert in_question.count(alone) == 1


def test_any_text_survives():
    text = "Ein Wort, das nie vorkam: 寿司 🐇\n\n\tend "
    assert tokenizer().decode(tokenizer().encode(text, add_special_tokens=False)) == text


def test_the_vocabulary_has_a_limit():
    assert len(train_tokenizer(WORDS * 20, 300)) == 300


def test_a_kept_tokenizer_is_trained_once(tmp_path, monkeypatch):
    first = keep_tokenizer(iter(WORDS), tmp_path)
    monkeypatch.setattr("vxl.data.batch.tokenizer.train_tokenizer", None)
    assert keep_tokenizer(WORDS, tmp_path) == first


def test_other_texts_are_another_tokenizer(tmp_path):
    assert keep_tokenizer(WORDS, tmp_path) != keep_tokenizer(WORDS[1:], tmp_path)


def test_two_processes_that_keep_the_same_one(tmp_path):
    folder = tmp_path / "t"
    save_tokenizer(tokenizer(), folder)
    save_tokenizer(tokenizer(), folder)  # the other one's was there first
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_saved_tokenizer_is_the_same(tmp_path):
    save_tokenizer(tokenizer(), tmp_path / "t")
    loaded = load_tokenizer(tmp_path / "t")
    text = "What is it? A cat."
    assert loaded.encode(text, add_special_tokens=False) == tokenizer().encode(text, add_special_tokens=False)
    assert (loaded.pad_token, loaded.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert loaded.get_vocab() == tokenizer().get_vocab()


def test_a_published_folder_without_tokenizer_json(tmp_path):
    """Vocabulary and merges alone, beside a config.json of an unknown architecture."""
    own = tokenizer()
    own.backend_tokenizer.model.save(str(tmp_path))
    plain = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    added = {
        str(number): {"content": token.content, "special": True} | plain
        for number, token in own.added_tokens_decoder.items()
    }
    said = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "pad_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    (tmp_path / "config.json").write_text('{"model_type": "llava_qwen"}')
    loaded = load_tokenizer(tmp_path)
    assert special_ids(loaded) == special_ids(own)
    text = "What is it? A cat."
    assert loaded.decode(loaded.encode(text, add_special_tokens=False)) == text


def test_a_name_that_is_nowhere():
    with pytest.raises(ConfigError) as error:
        load_tokenizer("nobody/nothing")
    assert "there is no tokenizer 'nobody/nothing'" in str(error.value)
    assert "hf download nobody/nothing" in str(error.value)


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


def test_which_tokenizer_a_run_takes(tmp_path):
    def texts():
        return iter(WORDS)

    save_tokenizer(train_tokenizer(["named"] * 9, 300), tmp_path / "named")
    save_tokenizer(train_tokenizer(["before"] * 9, 300), tmp_path / "runs" / "old" / "tokenizer")
    llm, paths = DecoderConfig(vocab=300), PathsConfig(cache=str(tmp_path), runs=str(tmp_path / "runs"))
    trained = tokenizer_of(PromptConfig(), llm, (None, "random"), paths, texts)
    assert len(trained) == 300  # within the embeddings that there are
    pretrained = replace(llm, weights=str(tmp_path / "named"))
    own = tokenizer_of(PromptConfig(), pretrained, (None, "random"), paths, texts)
    assert "named" in own.get_vocab()
    before = tokenizer_of(PromptConfig(), pretrained, ("old", "random"), paths, texts)
    assert "before" in before.get_vocab()
    prompt = PromptConfig(tokenizer=str(tmp_path / "named"))
    assert "named" in tokenizer_of(prompt, pretrained, ("old", "random"), paths, texts).get_vocab()
