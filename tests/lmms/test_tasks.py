import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lmms import stand_in
from tests.run_directories import CLIP, make_run
from vxl.cli.main import main
from vxl.errors import ConfigError
from vxl.evaluate.benchmarks.json import JsonList, JsonListConfig
from vxl.evaluate.work.answering import ask_greedily
from vxl.lmms import tasks
from vxl.lmms.tasks import FUNCTIONS, write_task

CITY, BUNNY = {"video": "city.mp4"}, {"video": "bunny.mp4"}
ROWS = [
    {"id": "one", "question": "What?", "options": ["sea", "towers", "towers"], "answer": "B"} | CITY,
    {"id": "two", "question": "Who?", "options": ["rabbit", "car"], "answer": "A"} | BUNNY,
    {"id": "part", "question": "Then?", "options": ["x", "y"], "answer": "B", "start": 1, "end": 3} | CITY,
]


@pytest.fixture
def benchmark(tmp_path: Path) -> JsonList:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    config = JsonListConfig(annotations=str(file), videos=str(CLIP.parent), prompt="lmms")
    return JsonList(config, data={}, cache=tmp_path / "cache")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "vxl_json.jsonl").read_text().splitlines()]


class Loader(yaml.SafeLoader):
    """Reads their `!function file.name`."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_a_task_asks_with_vxls_words(benchmark: JsonList, tmp_path: Path) -> None:
    assert write_task(benchmark, tmp_path / "tasks") == "vxl_json"
    described = yaml.load((tmp_path / "tasks" / "vxl_json.yaml").read_text(), Loader)
    assert described["dataset_kwargs"]["data_files"]["test"] == str(tmp_path / "tasks" / "vxl_json.jsonl")
    assert described["generation_kwargs"]["max_new_tokens"] == benchmark.max_new_tokens
    names: dict[str, Any] = {}
    exec((tmp_path / "tasks" / "vxl_functions.py").read_text(), names)
    for function in FUNCTIONS:
        assert described[function] == f"vxl_functions.{function}"
        assert names[function] is getattr(tasks, function)
    for item, row in zip(benchmark.items(), rows_of(tmp_path / "tasks"), strict=True):
        asked = benchmark.ask(item, "lmms")
        assert (row["user"], row["system"], row["prefill"]) == tuple(asked)
        assert Path(row["video"]).is_file()
    assert rows_of(tmp_path / "tasks")[0]["accepted"] == ["B", "C"]  # doubled options


def test_the_score_is_that_of_evaluate(
    benchmark: JsonList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.install(monkeypatch)
    from vxl.lmms.model import VxlModel

    write_task(benchmark, tmp_path / "tasks")
    docs = rows_of(tmp_path / "tasks")
    run = make_run(tmp_path / "runs", "made", steps=(10,))
    model = VxlModel(run=str(run), device="cpu", answers=str(tmp_path / "answers"))
    settings = {"max_new_tokens": 12, "do_sample": False, "until": []}
    found = model.generate_until(stand_in.requests(model, docs, tasks.doc_to_messages, settings))
    assert model.loaded is not None
    for item, doc, result in zip(benchmark.items(), docs, found, strict=True):
        context = model.loaded.watch(*benchmark.looks(item))
        answer = ask_greedily(model.loaded, context, benchmark.ask(item, "lmms"), 12)
        assert result.text == answer.text
        for text in (answer.text, "B", "(B) towers", "The answer is C.", "neither", ""):
            graded = benchmark.grade(item, text)
            assert tasks.process_results(doc, [text]) == {"accuracy": float(graded.right)}


def test_what_can_not_be_a_task_is_refused(benchmark: JsonList, tmp_path: Path) -> None:
    open_rows = tmp_path / "open.jsonl"
    open_rows.write_text('{"video": "city.mp4", "question": "What?", "answer": "a city"}\n')
    config = JsonListConfig(annotations=str(open_rows), videos=str(CLIP.parent))
    with pytest.raises(ConfigError, match="questions without options"):
        write_task(JsonList(config, data={}, cache=tmp_path), tmp_path / "tasks")
    lost = JsonListConfig(annotations=str(benchmark.place), videos=str(tmp_path))
    with pytest.raises(ConfigError, match=r"city\.mp4"):
        write_task(JsonList(lost, data={}, cache=tmp_path), tmp_path / "tasks")
    assert not (tmp_path / "tasks").exists()


def test_the_command(benchmark: JsonList, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tasks"
    words = [f"annotations={benchmark.place}", f"videos={CLIP.parent}", "prompt=lmms"]
    main(["benchmark", "lmms", "json", str(out), *words])
    assert "--include_path" in capsys.readouterr().out
    assert len(rows_of(out)) == len(ROWS)
    with pytest.raises(SystemExit):
        main(["benchmark", "lmms", "json", *words])
    assert "one folder" in capsys.readouterr().err
