import base64
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import vxl.compare.page.page as page_module
from tests.compare.sweeps import write_sweep
from vxl.compare.comparison import Comparison, compare
from vxl.compare.disagreement import disagreements
from vxl.compare.member import AXES
from vxl.compare.page.curves import curves
from vxl.compare.page.page import in_order, render
from vxl.compare.page.pareto import ends_of, joined, pareto
from vxl.run.find import find_members

HOSTILE = '</script><img src=x onerror="document.title=1">&'


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("runs")
    write_sweep(root, "s", 6, questions=45, title=HOSTILE)
    return compare(find_members("s", root), title=HOSTILE)


@pytest.fixture(scope="module")
def page(found: Comparison) -> str:
    return render(
        found, found.members[0].run.path.parent.parent / "page.html", "vxl compare s html=page.html"
    )


def figures(page: str) -> dict[str, Any]:
    """The pictures that a page holds."""
    (text,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_every_panel_has_its_pictures(page: str, found: Comparison) -> None:
    drawn = figures(page)
    assert list(drawn) == ["pareto", "forest", "heat", "needle", "curves", "parallel"]
    costs = ["cache", "tokens a frame", "first token ms", "peak", "train s"]
    assert list(drawn["pareto"]) == [f"{name}|{cost}" for name in ("clips", "needle") for cost in costs]
    assert list(drawn["forest"]) == ["clips", "needle"]
    assert list(drawn["heat"]) == ["clips|kind", "needle|kind", "needle|minutes", "needle|depth"]
    assert list(drawn["curves"]) == ["val/accuracy", "val/loss", "loss"]
    assert len(drawn["parallel"]["all"]["data"]) == len(found.members)


def test_what_a_config_says_is_text_and_no_markup(page: str) -> None:
    found: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Tags().feed(page)
    assert not [tag for tag, attributes in found if any(name.startswith("on") for name in attributes)]
    pictures = [attributes["src"] or "" for tag, attributes in found if tag == "img"]
    assert pictures
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert HOSTILE in unescape(page)
    names = [
        text for trace in figures(page)["pareto"]["clips|cache"]["data"] for text in trace.get("text", [])
    ]
    assert names
    assert not [name for name in names if "<" in name]


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    own = page.split('<script type="application/json"')[0]
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', own)
    assert "default-src 'none'" in own


def test_numbers_of_the_page_are_those_of_the_comparison(page: str, found: Comparison) -> None:
    for member in found.members:
        score = member.scores["clips"]
        assert f'data-sort="{score.mean!r}"' in page
    bars, *points = figures(page)["forest"]["clips"]["data"]
    drawn = sorted(x for trace in points for x in trace["x"])
    known = {p.other.name: p.detectable for p in found.pairs if p.benchmark == "clips" and p.detectable}
    assert bars["x"] == [200 * known[unescape(name)] for name in bars["y"]]
    pairs = [p.test.estimate.mean for p in found.pairs if p.benchmark == "clips" and p.test is not None]
    assert drawn == pytest.approx(sorted(100 * mean for mean in pairs))


def test_links_lead_to_the_run_directories(page: str, found: Comparison) -> None:
    place = found.members[0].run.path.parent.parent
    links = re.findall(r'<td data-sort="[^"]*"><a href="([^"]+)"', page)
    assert len(links) == len(found.members)
    assert {(place / unescape(link).replace("%3D", "=").replace("%2C", ",")).is_dir() for link in links} == {
        True
    }


def test_who_is_beaten_in_score_and_cost_is_faded(found: Comparison) -> None:
    drawn = pareto(found, "clips", AXES[0])
    assert drawn is not None
    points = {}
    for trace in drawn["data"]:
        if "markers" in trace["mode"] and trace["x"] != [None]:
            for x, y in zip(trace["x"], trace["y"], strict=True):
                points[x, y] = trace["opacity"] < 1
    for (x, y), faded in points.items():
        assert faded == any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    levels = [shape["y0"] for shape in drawn["layout"]["shapes"]]
    assert levels == [25.0, 100.0]  # chance of four options, and all right letters are B


def test_lines_say_what_their_settings_share_and_their_ends_in_what_they_differ(tmp_path: Path) -> None:
    write_sweep(tmp_path, "s", 6, questions=30)
    own = compare(find_members("s", tmp_path))
    knob, lines, _ = joined(own, own.settings)
    assert knob == "compressor.ratio"
    apart = {id(s): (float(at), float(at)) for at, s in enumerate(one for line in lines for one in line)}
    assert [note["text"] for note in ends_of(lines, knob, apart, log=False)] == ["ratio=1", "ratio=2"] * 2
    near = {key: (min(at, 1.0), min(at, 1.0)) for key, (at, _) in apart.items()}
    assert [note["text"] for note in ends_of(lines, knob, near, log=False)] == ["ratio=1", "ratio=2"]
    drawn = pareto(own, "clips", AXES[0])
    assert drawn is not None
    legend = [trace["name"] for trace in drawn["data"] if trace["showlegend"]]
    assert legend == ["kv=full", "kv=snapkv keep=0.5"]


def test_a_run_that_stopped_early_does_not_cut_the_curves_of_its_setting(tmp_path: Path) -> None:
    write_sweep(tmp_path, "s", 3, questions=30)
    rows = (tmp_path / "s/ratio=1,seed=1/metrics.csv").read_text().splitlines()
    (tmp_path / "s/ratio=1,seed=1/metrics.csv").write_text("\n".join(rows[:4]) + "\n")
    band, line = curves(compare(find_members("s", tmp_path)))["loss"]["data"]
    assert line["x"] == list(range(1, 21))
    assert "2 seeds" in line["name"]
    assert len(band["x"]) == 40


def test_a_name_is_sorted_by_its_numbers() -> None:
    names = ["ratio=64 keep=0.5", "ratio=4 keep=0.5", "ratio=16 keep=0.25", "ratio=4 keep=0.25"]
    assert sorted(names, key=in_order) == [names[3], names[1], names[2], names[0]]


def test_levels_that_are_near_stand_on_either_side(page: str) -> None:
    notes = {n["text"]: n["yanchor"] for n in figures(page)["pareto"]["clips|cache"]["layout"]["annotations"]}
    assert notes["chance"] == "top"
    assert notes["most frequent letter"] == "bottom"


def test_maps_say_of_how_many_questions_they_are(page: str) -> None:
    drawn = figures(page)
    assert drawn["heat"]["clips|kind"]["data"][0]["x"] == ["colour (15)", "order (15)", "count (15)"]
    map_of_needles = next(iter(drawn["needle"].values()))
    assert map_of_needles["layout"]["xaxis"]["title"]["text"].endswith(" answers a cell")


def test_frames_of_a_strip_are_parted(page: str) -> None:
    assert 'class="frames" style="--frames: 4"' in page


@pytest.mark.parametrize("shown", ["../" * 40 + "{}/id_rsa", "{}/id_rsa", "link.jpg", "x.jpg", "list"])
def test_a_page_shows_no_file_but_the_pictures_of_an_evaluation(tmp_path: Path, shown: str) -> None:
    """Answers of a stranger may name any file of the machine; the page is handed on."""
    write_sweep(tmp_path / "runs", "s", 2, questions=20)
    (tmp_path / "id_rsa").write_text("a secret of mine")
    for file in (tmp_path / "runs").rglob("answers.*.jsonl"):
        name = shown.format(tmp_path)
        (file.parent / "link.jpg").symlink_to(tmp_path / "id_rsa")
        (file.parent / "x.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        named = [line | {"shown": ["x"] if shown == "list" else name} for line in lines[1:]]
        file.write_text("".join(json.dumps(line) + "\n" for line in [lines[0], *named]))
    found = compare(find_members("s", tmp_path / "runs"), title="s")
    page = render(found, tmp_path / "page.html")
    assert disagreements(found, found.benchmarks[0], 4)
    assert "data:image/jpeg" not in page
    assert base64.b64encode(b"a secret of mine").decode()[:12] not in page


def test_the_style_of_a_thing_is_said_once() -> None:
    """A rule that stands twice makes dead what was said first."""
    text = (Path(page_module.__file__).parent / "page.css").read_text()
    selectors = re.findall(r"^([^\s@}][^{]*?) \{", text, re.MULTILINE)
    assert len(selectors) > 40
    assert sorted(selectors) == sorted(set(selectors))
