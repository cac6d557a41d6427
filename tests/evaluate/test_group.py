import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from vxl.evaluate.cost import Cost
from vxl.evaluate.fingerprint import Protocol
from vxl.evaluate.group import differences, failed, show_group
from vxl.evaluate.metrics import micro
from vxl.evaluate.report import Report
from vxl.evaluate.scoring import Graded, accuracy
from vxl.evaluate.subjects import Subject, members_of
from vxl.evaluate.work.changes import expand_changes, fitting, sweep
from vxl.option.files import CONF
from vxl.statistics import wilson

COST = Cost(
    questions=48,
    prefill_ms=123.0,
    first_token_ms=456.0,
    decode_tokens_per_s=7.0,
    cache_bytes=2**20,
    cache_room_bytes=0.0,
    peak_memory_bytes=2**30,
    peak_memory_of="process",
    visual_tokens=512,
    frames=64,
    prefill_flops=1e9,
    seconds=1.0,
)


def report(member: str, right: int) -> Report:
    """48 questions about 12 videos, the first `right` of them answered rightly."""
    graded = [
        Graded(
            key=f"k{n}",
            kind="colour",
            question="?",
            options=("x", "y"),
            answer="A",
            text="A" if n < right else "B",
            parsed="A" if n < right else "B",
            cluster=f"v{n % 12}",
        )
        for n in range(48)
    ]
    return Report(
        benchmark="needle",
        run="first",
        checkpoint="step-000005",
        status="finished",
        member=member,
        settings={},
        protocol=Protocol({"parts": member, "preset": "vxl"}, {"parser": "correct"}),
        overall=accuracy(graded),
        kinds={},
        metrics=[micro(graded)],
        cost=COST,
        graded=graded,
    )


def members() -> list[Report]:
    rights = {"kv=full": 40}
    for keep, lost in (("0.5", 4), ("0.0625", 12)):
        rights |= {
            f"kv={name},kv.keep={keep}": 40 - lost * n for n, name in enumerate(("recent", "adaretake"))
        }
    return [report(member, right) for member, right in rights.items()]


def test_policies_are_paired_with_full_and_with_recent_of_the_same_budget() -> None:
    found = {(pair.report.member, pair.base.member): pair for pair in differences(members())}
    assert set(found) == {
        ("kv=recent,kv.keep=0.5", "kv=full"),
        ("kv=recent,kv.keep=0.0625", "kv=full"),
        ("kv=adaretake,kv.keep=0.5", "kv=full"),
        ("kv=adaretake,kv.keep=0.5", "kv=recent,kv.keep=0.5"),
        ("kv=adaretake,kv.keep=0.0625", "kv=full"),
        ("kv=adaretake,kv.keep=0.0625", "kv=recent,kv.keep=0.0625"),
    }
    worst = found["kv=adaretake,kv.keep=0.0625", "kv=recent,kv.keep=0.0625"].test
    assert worst is not None
    assert (worst.first_only, worst.second_only) == (12, 0)
    assert worst.estimate.mean == -0.25


def test_the_table_reads_at_80_and_at_160_columns(tmp_path: Path) -> None:
    shown = {}
    for width in (80, 160):
        console = Console(file=io.StringIO(), width=width)
        show_group([*members(), report("kv=snapkv,kv.keep=0.0625", 9)], [], console, tmp_path)
        shown[width] = console.file.getvalue()
        table = shown[width].split("written:")[0].splitlines()
        assert max(map(len, table)) <= width
        row = next(line for line in table if "58.3 %" in line and "*" in line)
        assert row.count("-25.0 ± ") == 2  # against full and against recent, which is as good as full here
        assert row.count("*") == 2
        assert " ".join(table).count("keep=0.0625") == 6  # results and costs, at every width
        assert "50.5 to 66.2 %" in row
        assert " ".join(table).count("1.00 MiB") == len(members()) + 1
        assert {"against", "cache", "first", "decode"} <= set(" ".join(table).split())
        assert "below" in shown[width]
        assert "…" not in shown[width]
        assert shown[width].count("protocol without model and parts: ") == 1
        assert f"each member's, with all of its costs: {tmp_path}/MEMBER/needle.json and .png" in shown[width]
    written = json.loads((tmp_path / "group-needle.json").read_text())
    assert {pair["against"]["member"] for pair in written["differences"]} == {
        "kv=full",
        "kv=recent,kv.keep=0.5",
        "kv=recent,kv.keep=0.0625",
    }


def test_what_all_members_share_is_said_once_and_equal_answers_are_called_the_same(tmp_path: Path) -> None:
    rows = [
        report(f"kv={policy},kv.keep={keep},kv.of=visual", right)
        for policy, keep, right in (("full", 0.5, 40), ("snapkv", 0.5, 40), ("snapkv", 0.25, 28))
    ]
    console = Console(file=io.StringIO(), width=120)
    show_group(rows, [], console, tmp_path)
    text = console.file.getvalue()
    assert text.startswith("needle · kv.of=visual\n")
    tables = text.partition("\nsnapkv keep=0.5 of=visual: ")[0]
    assert tables.count("of=visual") == 1
    assert next(line for line in tables.splitlines() if " snapkv keep=0.5 " in line).split()[-1] == "same"
    assert "snapkv keep=0.5 of=visual: the same score as full keep=0.5 of=visual on every question\n" in text


def test_what_all_share_that_could_is_said_once_too(tmp_path: Path) -> None:
    """As in the sweep of policies: kv=full has no kv.of."""
    names = ["kv=full", *(f"kv={name},kv.of=visual,kv.keep=0.5" for name in ("recent", "snapkv"))]
    console = Console(file=io.StringIO(), width=120)
    show_group([report(name, 40) for name in names], [], console, tmp_path)
    text = console.file.getvalue()
    assert text.startswith("needle · kv.of=visual\n")
    assert " recent keep=0.5 " in text
    assert " snapkv keep=0.5 " in text


def test_members_of_another_protocol_are_not_paired(tmp_path: Path) -> None:
    first, other = report("kv=full", 40), report("kv=snapkv,kv.keep=0.5", 28)
    blind = replace(other, protocol=replace(other.protocol, scoring={"parser": "legacy"}))
    console = Console(file=io.StringIO(), width=160)
    show_group([first, blind], [], console, tmp_path)
    text = console.file.getvalue()
    assert "snapkv keep=0.5: not paired with full: another protocol: parser" in text
    hashes = [one.protocol.shared for one in (first, blind)]
    assert hashes[0] == other.protocol.shared  # only the parts differ
    assert f"protocol without model and parts: {hashes[0]}, {hashes[1]}" in text


def test_points_are_shown_as_points(tmp_path: Path) -> None:
    """G-Avg counts to 10, so a difference of a quarter is not 25."""
    full, other = report("kv=full", 40), report("kv=snapkv,kv.keep=0.5", 28)
    pair = differences([replace(one, metrics=[replace(one.metrics[0], scale=1.0)]) for one in (full, other)])[
        0
    ]
    console = Console(file=io.StringIO(), width=80)
    assert pair.scale == 1.0
    show_group([pair.base, pair.report], [], console, tmp_path)
    assert "-0.25 points" in console.file.getvalue()


def test_frames_are_swept_around_what_the_model_was_trained_with() -> None:
    assert sweep("frames", {"video": {"max_frames": 128}}) == [
        (f"video.max_frames={count}",) for count in (16, 32, 64, 128, 256)
    ]


def test_a_report_gives_each_label_wilsons_interval_too() -> None:
    """The cells of a needle grid are too small for a clustered one."""
    full = report("kv=full", 1)
    labelled = [replace(item, labels={"cell": (str(n // 4),)}) for n, item in enumerate(full.graded)]
    cells = replace(full, graded=labelled).plain()["labels"]["cell"]
    assert cells["0"]["interval"] is None
    assert cells["0"]["wilson"] == list(wilson(1, 4))
    labelled[0] = replace(labelled[0], given=0.4)
    cells = replace(full, graded=labelled).plain()["labels"]["cell"]
    assert (cells["0"]["wilson"], cells["1"]["wilson"]) == (None, list(wilson(0, 4)))


def test_what_is_typed_beside_the_sweep_is_for_policies_that_have_the_key() -> None:
    assert fitting(("kv=full",), ["kv.of=visual", "kv.offf=1", "prefill=chunked"]) == [
        "kv.offf=1",
        "prefill=chunked",
    ]
    assert fitting(("kv=snapkv", "kv.keep=0.5"), ["kv.of=visual"]) == ["kv.of=visual"]
    assert fitting(("prefill=full",), ["kv.of=visual"]) == ["kv.of=visual"]


def test_beside_several_policies_a_key_goes_to_those_that_have_it() -> None:
    assert expand_changes(["kv=full,snapkv", "kv.keep=0.5,0.25"]) == [
        ("kv=full",),
        ("kv=snapkv", "kv.keep=0.5"),
        ("kv=snapkv", "kv.keep=0.25"),
    ]
    assert expand_changes(["kv.tokens=64", "kv=full,snapkv", "relevance=uniform,maxsim"]) == [
        (*kv[:1], relevance, *kv[1:])
        for kv in (("kv=full",), ("kv=snapkv", "kv.keep=null", "kv.tokens=64"))
        for relevance in ("relevance=uniform", "relevance=maxsim")
    ]
    assert expand_changes(["kv=full", "kv.keep=0.5"]) == [("kv=full", "kv.keep=0.5")]  # to be refused
    assert expand_changes(["kv=full,snapkv", "kv.kep=1"])[0] == ("kv=full", "kv.kep=1")  # of no policy


def test_members_that_fail_for_one_reason_are_one_line() -> None:
    found = failed([("a", "room for 19 of 30"), ("b", "room for 5 of 30"), ("c", "out of memory")])
    assert found == ["2 failed, e.g. a: room for 19 of 30", "c failed: out of memory"]


def test_every_policy_stands_at_four_budgets_behind_full_and_the_baselines() -> None:
    found = sweep("policies", {})
    names = [change[0].removeprefix("kv=") for change in found]
    assert list(dict.fromkeys(names))[:4] == ["full", "recent", "uniform", "random"]
    assert set(names) == {file.stem for file in (CONF / "kv").glob("*.yaml")} - {"vst", "x2l"}
    for name in set(names) - {"full"}:
        keeps = [change[-1] for change in found if change[0] == f"kv={name}"]
        assert keeps == ["kv.keep=0.5", "kv.keep=0.25", "kv.keep=0.125", "kv.keep=0.0625"]
    # Of the visual tokens: text is more than 1/16 of many videos, and has to stay.
    assert {change[0] for change in found if "kv.of=visual" not in change} == {"kv=full", "kv=bilevel"}


def test_what_is_typed_beside_the_sweep_takes_the_place_of_its_own() -> None:
    subject = Subject("a", Path("a"), Path("a"), {}, "finished", None)
    config: Any = SimpleNamespace(members="policies", change=["kv.mib=8"])
    members = members_of(subject, config)
    assert members[:2] == [("kv=full",), ("kv=recent", "kv.keep=null", "kv.mib=8")]
    assert len(members) == len(set(members)) == len({change[0] for change in sweep("policies", {})})


def test_a_policy_without_shares_of_what_is_paired_with_recent_too() -> None:
    rights = {"kv=full": 40, "kv=recent,kv.of=visual,kv.keep=0.5": 36, "kv=bilevel,kv.keep=0.5": 38}
    found = differences([report(member, right) for member, right in rights.items()])
    assert [(pair.report.member, pair.base.member) for pair in found][-1] == (
        "kv=bilevel,kv.keep=0.5",
        "kv=recent,kv.of=visual,kv.keep=0.5",
    )
