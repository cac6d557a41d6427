import pytest

from tests.data.talking import PLAN, tokenizer
from vxl.data.batch.chat import Chat, Said, said
from vxl.data.batch.encoded import Shown
from vxl.data.batch.prompt import Prompt, PromptConfig
from vxl.data.sample import Turn
from vxl.errors import DataError

VIDEO = Shown("video", (0.0, 1.0, 2.0, 3.0, 4.0))
IMAGE = Shown("image")


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(PromptConfig(), tokenizer(), PLAN)


@pytest.fixture(scope="module")
def prompt() -> Prompt:
    return Prompt(PromptConfig(), tokenizer(), PLAN)


@pytest.mark.parametrize("shown", [(), (VIDEO,), (VIDEO, IMAGE)])
def test_one_question_is_head_and_tail(chat: Chat, prompt: Prompt, shown: tuple[Shown, ...]) -> None:
    head, tail = chat.conversation([said("user", [*[None] * len(shown), "What happens?"])], shown)
    assert vars(head) == vars(prompt.head(shown))
    assert tail == prompt.tail("What happens?", after_visual=bool(shown))


def test_a_question_before_the_video_is_one_behind_it(chat: Chat) -> None:
    assert said("user", ["What happens?", None]) == said("user", [None, "What happens?"])
    assert said("user", ["A:", None, "B:", None, "Which?"]).texts == ("A:\n", "\nB:\n", "\nWhich?")


def test_turns_are_those_of_inference(chat: Chat, prompt: Prompt) -> None:
    turns = [said("user", [None, "Who?"]), said("assistant", ["A cat."]), said("user", [None, "And here?"])]
    head, tail = chat.conversation(turns, [VIDEO, IMAGE])
    whole = prompt.inference(
        [Turn("user", "<image>\nWho?"), Turn("assistant", "A cat."), Turn("user", "<image>\nAnd here?")],
        [VIDEO, IMAGE],
    )
    assert head.tokens + tail == whole.tokens
    assert head.kind == whole.kind[: len(head)]
    assert whole.tokens[len(head) - 1] == chat.placeholder
    assert chat.placeholder not in tail
    assert len(head.items) == 2


def test_an_answer_may_be_begun(chat: Chat) -> None:
    turns = [said("user", ["Who?"]), said("assistant", ["The "])]
    _, begun = chat.conversation(turns[:1], [])
    _, going_on = chat.conversation(turns, [], goes_on=True)
    assert going_on == [*begun, *chat.tokenizer.encode("The ", add_special_tokens=False)]


def test_words_of_a_user_are_no_visuals_and_no_specials(chat: Chat) -> None:
    text = "<image> <|im_end|> <|vision_pad|>"
    head, tail = chat.conversation([said("user", [None, text])], [IMAGE])
    assert len(head.items) == 1
    assert chat.placeholder not in tail
    assert tail.count(chat.end) == 1


def test_visuals_and_places_agree(chat: Chat) -> None:
    with pytest.raises(DataError, match="2 visuals"):
        chat.conversation([Said("user", ("", "Who?"))], [VIDEO, IMAGE])
