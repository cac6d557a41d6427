"""Answers that only a judge can score: the published prompts, what is read of replies, a judge that fails."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.benchmarks import fixtures
from tests.evaluate.judge_server import judge_server
from vxl.errors import ConfigError, JudgeError
from vxl.evaluate.benchmarks import mlvu, tempcompass, vdc
from vxl.evaluate.benchmarks.annotations import strings
from vxl.evaluate.benchmarks.judged import Judgement, judge
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.rescore.score import score
from vxl.evaluate.work.judge import Judge, filled, last_dict


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vxl.evaluate.work.judge.WAITS", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")


def generation(root: Path, **settings: Any) -> mlvu.Mlvu:
    config = mlvu.MlvuConfig(annotations=str(fixtures.mlvu(root)), generation=True, **settings)
    return mlvu.Mlvu(config, data={}, cache=Path())


def judged(benchmark: Any, file: Path, text: str = "It {pred} ends.") -> tuple[Judgement, dict[str, float]]:
    items = benchmark.items()
    graded = [benchmark.grade(item, text if item.judged else item.gold) for item in items]
    found = judge(benchmark, items, graded, file)
    return found, {metric.name: metric.estimate.mean for metric in benchmark.metrics(found.graded)}


def test_g_avg_is_the_mean_of_two_sums_and_its_prompts_are_the_authors(tmp_path: Path) -> None:
    def reply(system: str, user: str) -> str:
        if "ACCURACY" in system:
            return "{'score_accuracy': 1}? No: {'score_accuracy': 4, 'score_relevance': 5, 'total_score': 9}"
        return 'so ```json\n{"score_completeness": 2, "score_reliability": 3, "total_score": 5}\n```'

    with judge_server(reply) as stand:
        found, values = judged(generation(tmp_path, judge=stand.url), tmp_path / "judge.jsonl")
    assert (values["SSC"], values["VS"], values["G-Avg"]) == (9.0, 5.0, 7.0)
    assert values["M-Avg"] == 1.0  # the choices alone
    assert found.notes == ["G-Avg: judged by gpt-4-turbo"]
    assert found.graded[-2].verdict == {"score": 9.0, "accuracy": 4.0, "relevance": 5.0}
    said = {call["messages"][0]["content"]: call for call in stand.asked}
    ssc, vs = (said[strings()[f"mlvu.judge.{kind}.system"]] for kind in ("ssc", "vs"))
    gap = "\n" + 28 * " "
    assert ssc["messages"][1]["content"] == (
        f"{gap}Please score the respondent's answer according to the steps in the Instructions. You must end "
        f"with a JSON dict to store the scores.{gap}Question: Describe it.{gap}Scoring Points: ['p']{gap}"
        f"Respondent's Answer: It {{pred}} ends.\n{24 * ' '}"
    )
    assert "Standard Answer: y" in vs["messages"][1]["content"]
    assert (ssc["temperature"], ssc["model"], ssc["path"]) == (0, "gpt-4-turbo", "/v1/chat/completions")
    assert ssc["key"] == "Bearer secret"
    assert "secret" not in (tmp_path / "judge.jsonl").read_text()


def test_verdicts_that_cannot_be_read_count_as_nothing_and_are_counted(tmp_path: Path) -> None:
    replies = ["no dictionary", "{'score_accuracy': 9, 'score_relevance': 5}", "{'score_accuracy': 4}", ""]
    for number, text in enumerate(replies):
        with judge_server(lambda *_, text=text: text) as stand:
            file = tmp_path / f"{number}.jsonl"
            found, values = judged(generation(tmp_path, judge=stand.url, judge_model="mine"), file)
        assert values["G-Avg"] == 0.0
        note = "G-Avg: judged by mine; 2 of 2 verdicts could not be read and count as 0"
        assert found.notes == [note]


def test_a_judge_that_does_not_answer_loses_nothing(tmp_path: Path) -> None:
    """Each reply is kept when it comes; the next start asks for the rest alone."""
    file = tmp_path / "judge.jsonl"

    def reply(system: str, _: str) -> str | int:
        return "{'score_accuracy': 4, 'score_relevance': 5}" if "ACCURACY" in system else 503

    with judge_server(reply) as stand:
        benchmark = generation(tmp_path, judge=stand.url)
        found, values = judged(benchmark, file)
        assert "G-Avg" not in values
        assert values["M-Avg"] == 1.0
        assert found.notes == ["G-Avg is not computed: the judge does not answer"]
        assert str(found.silent).splitlines() == [
            f"the judge gpt-4-turbo at {stand.url} does not answer: status 503: too many requests",
            "  G-Avg is not computed; every answer and 1 replies of the judge are kept",
            "  type the same command again",
        ]
        assert sum("VERDICT" not in str(call) and "RELIABILITY" in str(call) for call in stand.asked) == 3
        stand.asked.clear()
        stand.reply = lambda *_: "{'score_completeness': 1, 'score_reliability': 1}"
        with file.open("a") as torn:
            torn.write('{"prompt": "abc", "rep')  # a kill in the middle of a line
        found, values = judged(benchmark, file)
        assert values["G-Avg"] == (9 + 2) / 2
        assert len(stand.asked) == 1
    assert judged(benchmark, file)[1]["G-Avg"] == (9 + 2) / 2  # the server is gone, and is not needed


def test_a_request_that_is_refused_is_not_repeated(tmp_path: Path) -> None:
    with judge_server(lambda *_: 401) as stand:
        with pytest.raises(JudgeError, match="status 401"):
            Judge(stand.url, "m", tmp_path / "j").ask("s", "u")
        assert len(stand.asked) == 1
    with pytest.raises(JudgeError, match=r"does not answer: .*refused"):
        Judge(stand.url, "m", tmp_path / "j").ask("s", "u")
    with pytest.raises(ConfigError, match="is no URL"):
        Judge("localhost:8000", "m", tmp_path / "j")


def test_without_a_judge_it_is_said_what_is_not_computed(tmp_path: Path) -> None:
    found, values = judged(generation(tmp_path), tmp_path / "judge.jsonl")
    assert "G-Avg" not in values
    assert found.notes == [
        "G-Avg is not computed: it needs a judge, an OpenAI-compatible server:  benchmark.judge=URL"
    ]
    assert not (tmp_path / "judge.jsonl").exists()


def test_vdc_asks_each_question_of_the_caption_and_judges_the_answer(tmp_path: Path) -> None:
    place = fixtures.vdc(tmp_path)
    rows = json.loads(place.read_text())
    rows[0]["qa_list"].append({"question": "What {q} is {'odd'}?", "answer": "Nothing"})
    fixtures.write(place, rows[:1])

    def reply(system: str, user: str) -> str:
        if "evaluating" not in system:
            return "by a river" if "Where" in user else "nothing"
        return "{'pred': 'yes', 'score': 5}" if "river" in user else "{'pred': 'No', 'score': 0}"

    with judge_server(reply) as stand:
        benchmark = vdc.Vdc(vdc.VdcConfig(annotations=str(place), judge=stand.url), data={}, cache=Path())
        found, values = judged(benchmark, tmp_path / "judge.jsonl", "A man {q} walks.")
    assert values == {"accuracy": 0.5, "VDC score (0 to 5)": 2.5}
    assert found.graded[0].verdict == {"score": 0.5, "points": 2.5}
    users = [call["messages"][1]["content"] for call in stand.asked]
    assert users[0] == (
        "Please provide accurate answers to questions related to the content based on a detailed description "
        "of a video or image:\n\ndetailed description: A man {q} walks., question: Where does the man walk?"
        "DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide short but accurate answer."
    )
    head = (
        "Please evaluate the following video-based question-answer pair:\n\nQuestion: What {q} is {'odd'}?\n"
    )
    assert users[3].startswith(f"{head}Correct Answer: Nothing\nPredicted Answer: nothing\n")
    assert users[3].endswith(
        "For example, your response should look like this: {'pred': 'yes', 'score': 4.8}."
    )


def test_tempcompass_judges_captions_by_the_first_choice_question(tmp_path: Path) -> None:
    place = fixtures.tempcompass(tmp_path)
    captions = {"1": {"action": [{"question": "Describe.", "answer": "x"}]}}
    fixtures.write(place / "captioning.json", captions)
    for text, right in (
        ("Reasoning: it runs.\nAnswer: A. running", 1.0),
        ("A. running", 1.0),
        ("Answer: A. running or B. sleeping", 0.0),
        ("Answer: None of the choices are correct", 0.0),
    ):
        with judge_server(lambda *_, text=text: text) as stand:
            config = tempcompass.TempCompassConfig(annotations=str(place), captioning=True, judge=stand.url)
            benchmark = tempcompass.TempCompass(config, data={}, cache=Path())
            items = [item for item in benchmark.items() if item.judged]
            graded = [benchmark.grade(item, "A dog runs. ") for item in items]
            (found,) = judge(benchmark, items, graded, tmp_path / f"{len(text)}.jsonl").graded
        assert found.score == right, text
        user = stand.asked[0]["messages"][1]["content"]
        prompt = strings()["tempcompass.judge.caption_evaluation_prompt"]
        asked = "Multi-Choice Question:\nWhat is the dog doing?\nA. running\nB. sleeping\nC. eating\n"
        assert user == f"{prompt}\nVideo Description:A dog runs.\n{asked}"


def test_a_file_of_answers_is_judged_too(tmp_path: Path) -> None:
    with judge_server(lambda *_: "{'score_completeness': 1, 'score_reliability': 2}") as stand:
        benchmark = generation(tmp_path, judge=stand.url)
        items: list[BenchmarkItem] = benchmark.items()
        lines = [json.dumps({"key": item.key, "text": "x"}) for item in items if item.kind != "sub_scene"]
        answers = fixtures.write(tmp_path / "answers.0.jsonl", "\n".join(lines) + "\n")
        scores = score(answers, benchmark)
        values = {metric.name: metric.estimate.mean for metric in scores.metrics}
        assert values["G-Avg"] == 1.5  # no answer to the scene: 0 and never asked about
        assert len(stand.asked) == 1
    with pytest.raises(JudgeError, match="does not answer"):
        score(answers, generation(tmp_path, judge=stand.url, judge_model="another"))


def test_prompts_are_filled_once_and_the_last_dictionary_counts() -> None:
    assert filled("{a} {b}", {"{a}": "{b}", "{b}": "x"}) == "{b} x"
    assert last_dict("{'a': 1} and {\"a\": 2}") == {"a": 2}
    assert last_dict("{'a': 1} {broken}") == {"a": 1}
    assert last_dict("[1]") is None


def test_a_judge_is_part_of_the_protocol(tmp_path: Path) -> None:
    own = generation(tmp_path)
    assert "judge" not in own.protocol()
    other = mlvu.Mlvu(replace(own.config, judge="http://x/v1"), data={}, cache=Path())
    assert other.protocol() == own.protocol() | {"judge": "gpt-4-turbo"}
