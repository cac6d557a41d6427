"""Parquet annotations hold what the JSON ones do: the same items, whatever the columns are called."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluate.benchmarks import fixtures
from vxl.errors import DataError
from vxl.evaluate.benchmarks import egoschema, longvideobench, lvbench, vdc, videomme, videommmu
from vxl.evaluate.item import BenchmarkItem

Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def read(kind: type[Any], config: Any) -> list[BenchmarkItem]:
    return kind(config, data={}, cache=Path()).items()


def asked(items: list[BenchmarkItem]) -> list[tuple[Any, ...]]:
    names = ("key", "video", "kind", "question", "options", "printed", "gold", "accepted", "reference")
    return [tuple(getattr(item, name) for name in names) for item in items]


def test_video_mme(tmp_path: Path) -> None:
    place = fixtures.videomme(tmp_path)
    write(tmp_path / "other" / "videomme" / "test-00000-of-00001.parquet", json.loads(place.read_text()))
    there = read(videomme.VideoMme, videomme.VideoMmeConfig(annotations=str(tmp_path / "other")))
    assert asked(there) == asked(read(videomme.VideoMme, videomme.VideoMmeConfig(annotations=str(place))))
    assert there[0].question == "How many\nmoons are shown?"


def test_longvideobench_pads_options_and_marks_what_has_no_answer(tmp_path: Path) -> None:
    place = fixtures.longvideobench(tmp_path)
    rows = json.loads(place.read_text())
    for row in rows:
        options = row.pop("candidates")
        row |= {f"option{n}": options[n] if n < len(options) else "N/A" for n in range(5)}
        row["starting_timestamp_for_subtitles"] = float(row["starting_timestamp_for_subtitles"])
    write(tmp_path / "other" / "validation-00000-of-00001.parquet", rows)
    config = longvideobench.LongVideoBenchConfig
    there = read(longvideobench.LongVideoBench, config(annotations=str(tmp_path / "other")))
    assert asked(there) == asked(read(longvideobench.LongVideoBench, config(annotations=str(place))))
    assert there[0].facts["begins"] == 12.0
    write(tmp_path / "other" / "test-00000-of-00001.parquet", [row | {"correct_choice": -1} for row in rows])
    hidden = read(longvideobench.LongVideoBench, config(annotations=str(tmp_path / "other"), split="test"))
    assert {item.gold for item in hidden} == {""}
    assert [item.options for item in hidden] == [item.options for item in there]


def test_lvbench_in_flat_rows(tmp_path: Path) -> None:
    place = fixtures.lvbench(tmp_path)
    videos = [json.loads(line) for line in place.read_text().splitlines()]
    rows = [
        question | {"video_path": f"{video['key']}.mp4", "type": video["type"]}
        for video in videos
        for question in video["qa"]
    ]
    write(tmp_path / "other" / "data" / "train-00000-of-00001.parquet", rows)
    there = read(lvbench.LvBench, lvbench.LvBenchConfig(annotations=str(tmp_path / "other")))
    original = read(lvbench.LvBench, lvbench.LvBenchConfig(annotations=str(place)))
    assert asked(there) == asked(original)
    assert [item.labels for item in there] == [item.labels for item in original]


def test_egoschema_has_letters_in_its_options_there(tmp_path: Path) -> None:
    place = fixtures.egoschema(tmp_path)
    golds = json.loads((tmp_path / "subset_answers.json").read_text())
    rows = [
        {
            "question_idx": str(number),
            "question": row["question"],
            "video_idx": row["q_uid"],
            "option": [f"{'ABCDE'[n]}. {row[f'option {n}']}" for n in range(5)],
            "answer": str(golds[row["q_uid"]]),
        }
        for number, row in enumerate(json.loads(place.read_text()))
        if row["q_uid"] in golds
    ]
    write(tmp_path / "other" / "Subset" / "test-00000-of-00001.parquet", rows)
    there = read(egoschema.EgoSchema, egoschema.EgoSchemaConfig(annotations=str(tmp_path / "other")))
    original = read(egoschema.EgoSchema, egoschema.EgoSchemaConfig(annotations=str(place)))
    assert [(i.key, i.options, i.gold) for i in there] == [(i.key, i.options, i.gold) for i in original]


def test_videommmu_and_vdc(tmp_path: Path) -> None:
    place = fixtures.videommmu(tmp_path)
    for track in ("Perception", "Comprehension", "Adaptation"):
        rows = json.loads((place / f"{track}.json").read_text())
        write(tmp_path / "other" / track / "test-00000-of-00001.parquet", rows)
    config = videommmu.VideoMmmuConfig
    there = read(videommmu.VideoMmmu, config(annotations=str(tmp_path / "other")))
    assert asked(there) == asked(read(videommmu.VideoMmmu, config(annotations=str(place))))
    captions = fixtures.vdc(tmp_path)
    write(tmp_path / "vdc" / "detailed" / "test-00000-of-00001.parquet", json.loads(captions.read_text()))
    there = read(vdc.Vdc, vdc.VdcConfig(annotations=str(tmp_path / "vdc")))
    assert asked(there) == asked(read(vdc.Vdc, vdc.VdcConfig(annotations=str(captions))))
    assert there[0].reference == [{"question": "Where does the man walk?", "answer": "Along a river"}]


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"question_id": str(n)} for n in range(99)])
    cut = tmp_path / "cut.parquet"
    cut.write_bytes((tmp_path / "a.parquet").read_bytes()[:-30])
    with pytest.raises(DataError, match="is no Parquet"):
        read(videomme.VideoMme, videomme.VideoMmeConfig(annotations=str(cut)))
