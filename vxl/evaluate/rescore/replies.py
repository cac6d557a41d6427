"""Result files of any tool as replies: what was asked, what was said, and the gold where the file has it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vxl.errors import DataError, one_line
from vxl.evaluate.benchmarks.tables import read_json, read_rows
from vxl.evaluate.fingerprint import Protocol

FORMATS = """\
  plain lines          {"key": "901-2", "cluster": "video", "gold": "B", "text": "B. blue"}, labels besides
  vxl                  evaluate/<benchmark>.json, or its folder's answers.N.jsonl (with annotations=)
  lmms-eval            *_samples_*.jsonl of --log_samples
  VNBench, VideoMME    the authors' result files
  VLMEvalKit           .csv, .tsv or .json with index, prediction, answer (save an .xlsx as one of them)
  {key: answer}        LVBench, EgoSchema, LongVideoBench (with annotations=)"""

# Names that tools give to the same thing, the likeliest first.
_KEYS = ("question_id", "q_uid", "id", "uid", "key", "index", "doc_id")
_CLUSTERS = ("videoID", "video_path", "video_name", "video", "video_id", "video_idx")
_LABELS = ("duration", "duration_group", "domain", "sub_category", "task_type", "question_category", "level")
_LABELS += ("question_type", "type", "category")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer of a result file."""

    key: str
    text: str
    gold: str | None = None
    """A letter; None where only the annotations know it."""
    cluster: str | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def read_replies(path: Path) -> list[Reply]:
    """The replies of a result file, whichever tool wrote it.

    Raises:
        DataError: It is not there, empty, or of no known form; the message lists the forms.
    """
    try:
        replies = _replies(path)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} is of no known form ({type(error).__name__}: {one_line(str(error))[:200]}).\n"
            f"  forms that are read:\n{FORMATS}"
        ) from error
    if not replies:
        raise DataError(f"{path} holds no answer.\n  forms that are read:\n{FORMATS}")
    return replies


def protocol_of(path: Path) -> Protocol | None:
    """How the answers of vxl's own result file came about; None where a file does not say it."""
    written = read_json(path) if path.suffix == ".json" else None
    found = written.get("protocol") if isinstance(written, dict) else None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(k), dict) for k in ("answering", "scoring")
    ):
        return None
    return Protocol(found["answering"], found["scoring"])


def _replies(path: Path) -> list[Reply]:
    if path.is_dir():
        return [reply for file in sorted(path.glob("answers.*.jsonl")) for reply in read_replies(file)]
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","))
        return [_of_row(row, path) for row in rows]
    if path.suffix == ".jsonl":
        rows = [row for row in read_rows(path) if set(row) != {"fingerprint", "worker"}]
        return [_of_row(row, path) for row in rows]
    return _of_json(read_json(path), path)


def _of_json(value: Any, path: Path) -> list[Reply]:
    if isinstance(value, dict) and isinstance(value.get("answers"), list):
        return [_of_vxl(row) for row in value["answers"]]
    if isinstance(value, dict) and value and not any(isinstance(v, dict | list) for v in value.values()):
        return [Reply(key=str(key), text=_letter(reply)) for key, reply in value.items()]
    if isinstance(value, dict) and isinstance(value.get("logs"), list):
        value = value["logs"]
    if isinstance(value, list) and value and isinstance(value[0], dict) and "questions" in value[0]:
        return [_of_videomme(video, row) for video in value for row in video["questions"]]
    if isinstance(value, list):
        return [_of_row(row, path) for row in value]
    raise _unknown(path, value)


def _of_row(row: Any, path: Path) -> Reply:
    """One line, by the keys that it has."""
    if not isinstance(row, dict):
        raise _unknown(path, row)
    if "key" in row and "text" in row:
        return _of_plain(row)
    if "question_id" in row and "pred" in row and "gt" in row and "try" in row:
        return _of_vnbench(row)
    if "doc" in row or "resps" in row or "filtered_resps" in row:
        return _of_lmms(row)
    for column in ("prediction", "pred", "response", "output", "model_answer"):
        if column in row:
            gold = next((row[name] for name in ("answer", "gt", "gold", "target") if name in row), None)
            options = tuple(
                str(row[letter]) for letter in "ABCDEFG" if row.get(letter) not in (None, "", "nan")
            )
            return Reply(
                key=_first(row, _KEYS) or "",
                text=str(row[column] or ""),
                gold=_as_gold(gold),
                cluster=_first(row, _CLUSTERS),
                labels=_labels(row),
                options=options,
            )
    raise _unknown(path, row)


def _of_plain(row: Mapping[str, Any]) -> Reply:
    own = {"key", "text", "gold", "cluster", "tokens", "cost", "worker", "failed"}
    labels = {
        name: tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        for name, value in row.items()
        if name not in own and isinstance(value, str | list | int)
    }
    gold, cluster = row.get("gold"), row.get("cluster")
    return Reply(
        key=str(row["key"]),
        text=str(row["text"] or ""),
        gold=_as_gold(gold),
        cluster=None if cluster is None else str(cluster),
        labels=labels,
    )


def _of_vxl(row: Mapping[str, Any]) -> Reply:
    return Reply(
        key=str(row["key"]),
        text=str(row["text"]),
        gold=str(row["answer"]),
        cluster=str(row.get("cluster") or row["key"]),
        labels={"kind": (str(row.get("kind", "question")),)},
        options=tuple(row.get("options") or ()),
    )


def _of_vnbench(row: Mapping[str, Any]) -> Reply:
    stem, _, number = str(row["question_id"]).rpartition("_")
    return Reply(
        key=f"{stem}/{number}",
        text=str(row["pred"] or ""),
        gold=_as_gold(row["gt"]),
        cluster=stem.rsplit("_", 2)[0],
        labels={"type": (str(row["type"]),)},
    )


def _of_videomme(video: Mapping[str, Any], row: Mapping[str, Any]) -> Reply:
    labels = {name: (str(video[name]),) for name in ("duration", "domain", "sub_category") if name in video}
    return Reply(
        key=str(row["question_id"]),
        text=str(row.get("response") or ""),
        gold=_as_gold(row.get("answer")),
        cluster=str(video.get("videoID") or video.get("video_id")),
        labels=labels | {"task_type": (str(row.get("task_type", "")),)},
    )


def _of_lmms(row: Mapping[str, Any]) -> Reply:
    """A line of lmms-eval's samples: the document, the target, replies nested as filters leave them."""
    response: Any = row.get("filtered_resps", row.get("resps", ""))
    while isinstance(response, list) and response:
        response = response[0]
    document = row.get("doc") or {}
    return Reply(
        key=_first(document, _KEYS) or str(row.get("doc_id", "")),
        text="" if isinstance(response, list) else str(response),
        gold=_as_gold(row.get("target", document.get("answer"))),
        cluster=_first(document, _CLUSTERS),
        labels=_labels(document),
    )


def _labels(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    labels = {}
    for name in _LABELS:
        value = row.get(name)
        if isinstance(value, list):
            labels[name] = tuple(map(str, value))
        elif value not in (None, "") and not isinstance(value, dict | float):
            labels[name] = (str(value),)
    return labels


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((str(row[name]) for name in names if row.get(name) not in (None, "")), None)


def _as_gold(value: Any) -> str | None:
    """A letter, from a letter, a bracketed one, or a number from 0."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return ascii_uppercase[value]
    text = str(value).strip()
    bare = text.strip("().")
    return bare if len(bare) == 1 and bare in ascii_uppercase else text


def _letter(value: Any) -> str:
    return ascii_uppercase[value] if isinstance(value, int) and 0 <= value < 26 else str(value or "")


def _unknown(path: Path, value: Any) -> DataError:
    keys = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
    return DataError(f"{path} is of no known form; got: {keys[:200]}\n  forms that are read:\n{FORMATS}")
