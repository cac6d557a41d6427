"""Benchmarks as tasks of lmms-eval, with vxl's prompts and vxl's reading of answers.

lmms-eval's own tasks give every model that it does not know the same words. `vxl benchmark lmms` writes a
task whose prompts are those of a preset (`prompt=videoxl2`), made by the code that `evaluate.py` asks with.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vxl.atomic import write_text
from vxl.data.batch.letter import parse_letter
from vxl.errors import ConfigError
from vxl.evaluate.benchmarks.official import Official
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.missing import missing_message

FUNCTIONS = ("doc_to_visual", "doc_to_messages", "doc_to_text", "process_results")
CODE = f'''"""What lmms-eval calls for each row; written by `vxl benchmark lmms`."""

from vxl.lmms.tasks import {", ".join(sorted(FUNCTIONS))}

__all__ = {list(FUNCTIONS)!r}
'''
Doc = Mapping[str, Any]


def write_task(benchmark: Official, out: Path) -> str:
    """Writes a benchmark as a task: its YAML, its rows, and the file with its functions.

    Args:
        benchmark: With annotations, a folder of videos and a preset.
        out: The folder for `--include_path`; several tasks may share it.

    Returns:
        The task's name.

    Raises:
        ConfigError: Not all of its questions have options, its prompts depend on the frames that are shown,
            or a video is not there.
    """
    name = f"vxl_{benchmark.name}"
    if benchmark.needs_times:
        raise ConfigError(
            f"benchmark={benchmark.name} words its prompts by the frames that a model looks at, which "
            f"lmms-eval does not tell.\n  python evaluate.py run=NAME benchmark={benchmark.name}"
        )
    items = benchmark.items()
    if any(item.asks != "choice" or not item.options for item in items):
        raise ConfigError(
            f"benchmark={benchmark.name} has questions without options, which only evaluate.py scores.\n"
            f"  python evaluate.py run=NAME benchmark={benchmark.name}"
        )
    missing = benchmark.missing(items)
    if missing and benchmark.config.missing == "error":
        raise ConfigError(missing_message(benchmark, missing, items))
    lost = {item.key for item in missing}
    preset = benchmark.preset()
    rows = [_row(benchmark, item, preset) for item in items if item.key not in lost]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    out.mkdir(parents=True, exist_ok=True)
    data = (out / f"{name}.jsonl").resolve()
    write_text(data, text)
    write_text(out / "vxl_functions.py", CODE)
    described = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_target": "gold",
        "generation_kwargs": {
            "max_new_tokens": benchmark.max_new_tokens,
            "temperature": 0,
            "do_sample": False,
            "num_beams": 1,
            "until": [],
        },
        "metric_list": [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}],
        "metadata": [{"version": 1.0, "prompt": preset, "annotations": benchmark.protocol()["annotations"]}],
    }
    functions = "".join(f"{function}: !function vxl_functions.{function}\n" for function in FUNCTIONS)
    head = f"# {benchmark.name} with the prompts of prompt={preset}; written by  vxl benchmark lmms\n"
    write_text(out / f"{name}.yaml", head + yaml.safe_dump(described, sort_keys=False) + functions)
    return name


def _row(benchmark: Official, item: BenchmarkItem, preset: str) -> dict[str, Any]:
    """One question, with all that its prompt and its score need."""
    parts = benchmark.ask(item, preset)
    start, end = benchmark.part_of(item)
    return {
        "key": item.key,
        "video": str((benchmark.file_of(item) or Path()).resolve()),
        "start": start,
        "end": end,
        "system": parts.system,
        "user": parts.user,
        "prefill": parts.prefill,
        "options": list(item.options),
        "gold": item.gold,
        "accepted": list(item.accepted or (item.gold,)),
        "kind": item.kind,
    }


def doc_to_visual(doc: Doc) -> list[str]:
    """The video's path."""
    return [doc["video"]]


def doc_to_text(doc: Doc, kwargs: Any = None) -> str:
    """The user's words."""
    return doc["user"]


def doc_to_messages(doc: Doc, kwargs: Any = None) -> list[dict[str, Any]]:
    """The conversation; a prefill is the beginning of the assistant's turn."""
    video = {"type": "video", "url": doc["video"]}
    video |= {f"{name}_time": doc[name] for name in ("start", "end") if doc[name] is not None}
    messages = [{"role": "user", "content": [video, {"type": "text", "text": doc["user"]}]}]
    if doc["system"] is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": doc["system"]}]})
    if doc["prefill"]:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": doc["prefill"]}]})
    return messages


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Whether the letter that is found in the answer is a right one."""
    letter = parse_letter(results[0], tuple(doc["options"]), doc["prefill"])
    return {"accuracy": float(letter is not None and letter in doc["accepted"])}
