"""Visual needle in a haystack: is something found that a few frames of a long video show?

After V-NIAH of LongVA (arXiv 2406.16852) and of Video-XL (arXiv 2409.14485): needles are put among the frames
that are shown, at depths of 0 to 100 %, in videos of growing length.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np

from vxl.atomic import whole_file
from vxl.data.clips.drawn import COLOURS, KINDS, NUMBERS, draw_clips
from vxl.errors import ConfigError, DataError
from vxl.evaluate.benchmark import Benchmark, BenchmarkConfig
from vxl.evaluate.benchmarks.haystack import Haystack, Needle, clip_facts, clip_files, clip_frames
from vxl.evaluate.benchmarks.tables import read_json
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.scoring import Graded
from vxl.generate.loaded import Clip
from vxl.patience import is_file
from vxl.seeds import generator
from vxl.statistics import wilson
from vxl.video.image import read_rgb


@dataclass(frozen=True, kw_only=True)
class NeedleConfig(BenchmarkConfig):
    """Needles in haystacks of 5 minutes to 10 hours, drawn if no files are given.

    Numbers: the share of needles found in each cell of length and depth, and over the grid; a cell of 3
    needles is known to about 45 points. Frames are those that video.* chooses of one a second: a long
    haystack needs video.max_frames to match.
    """

    _target_: str = "vxl.evaluate.benchmarks.needle.NeedleGrid"
    minutes: list[float] = field(default_factory=lambda: [5.0, 30.0, 120.0, 600.0])
    """Lengths of the haystacks."""
    depths: list[int] = field(default_factory=lambda: [0, 25, 50, 75, 100])
    """Where needles go, in per cent."""
    needles: int = 3
    """Needles of each cell, asked one by one."""
    needle_frames: int = 4
    """Frames that a needle is shown: 4 are one group of the DTS models, 1 is what was published."""
    variant: Literal["retrieve", "order", "count"] = "retrieve"
    """Find one; say which of two comes first; count how often one comes."""
    kind: Literal["drawn", "natural"] = "drawn"
    """Needles that are drawn shapes, or scenes of the embedded clips (retrieve only)."""
    haystack: str | None = None
    """A film to search in; null: the embedded clips in turns."""
    files: str | None = None
    """Folder of needles with needles.json, of LongVA's or Video-XL's form; null: drawn or natural ones."""
    form: Literal["generate", "teacher_forced"] = "generate"
    """When an answer is right: its letter is, as Video-XL has it; or all its tokens are the likeliest ones,
    as LongVA has it (greedy decoding then begins with the answer)."""
    seed: int = 0
    """Of the needles and of the haystack's order."""

    def __post_init__(self) -> None:
        if not self.minutes or not self.depths or self.needles < 1 or self.needle_frames < 1:
            raise ConfigError("the grid is empty.\n  e.g.  minutes=[5,30] depths=[0,50,100] needles=3")
        if any(not 0 <= depth <= 100 for depth in self.depths) or min(self.minutes) <= 0:
            raise ConfigError(
                f"minutes={self.minutes} depths={self.depths}: lengths must be above 0, depths 0 to 100."
            )
        if self.variant != "retrieve" and (self.kind != "drawn" or self.files is not None):
            raise ConfigError(f"variant={self.variant} is for drawn needles.\n  type  kind=drawn files=null")


class NeedleGrid(Benchmark):
    """A grid of lengths and depths; every needle is a video of its own, so cells resume one by one."""

    name = "needle"
    config: NeedleConfig
    max_new_tokens = 16

    def __init__(self, config: NeedleConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def items(self) -> list[BenchmarkItem]:
        """One item a needle, by length, depth and number."""
        if self.config.haystack is not None and not is_file(Path(self.config.haystack)):
            raise DataError(
                f"benchmark.haystack={self.config.haystack}: no such file.\n  expected: a video file"
            )
        items = []
        for minutes in self.config.minutes:
            for depth in self.config.depths:
                for number in range(self.config.needles):
                    items.append(self._item(minutes, depth, number, len(items)))
        half = wilson(self.config.needles // 2, self.config.needles)
        worth = 50 * (half.high - half.low)
        self.notes = [f"{self.config.needles} needles a cell: a cell is known to ± {worth:.0f} points"]
        return items

    def _item(self, minutes: float, depth: int, number: int, index: int) -> BenchmarkItem:
        question, options, gold = self._question(minutes, depth, number)
        cell = f"{minutes:g} min/{depth} %"
        return BenchmarkItem(
            key=f"{minutes:g}/{depth}/{number}",
            index=index,
            video=f"{minutes:g} min, needle {number} at {depth} %",
            cluster=cell,
            kind=f"{minutes:g} min",
            labels={"minutes": (f"{minutes:g}",), "depth": (str(depth),), "cell": (cell,)},
            question=question,
            options=options,
            gold=gold,
            accepted=(gold,),
            asks="choice" if options else "open",
            seconds=60 * minutes,
            facts={"minutes": minutes, "depth": depth, "number": number},
        )

    def looks(self, item: BenchmarkItem) -> list[Clip]:
        """The haystack with the item's needles, made as it is watched."""
        minutes, depth, number = (item.facts[name] for name in ("minutes", "depth", "number"))
        without = None
        if self.config.kind == "natural" and self.config.files is None:
            without = self._scene(number)["video"]
        sources = (self.config.haystack,) if self.config.haystack else clip_files(without)
        haystack = Haystack(
            sources,
            60.0 * minutes,
            tuple(self._needles(minutes, depth, number)),
            self.config.needle_frames,
            self.config.seed,
        )
        return [Clip(haystack, "video", name=item.video)]

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """Files' needles as their authors ask; others as vxl asks."""
        if self.config.files is None:
            return super().ask(item, preset, times)
        _, prefill = self._listed()
        return PromptParts(item.question, prefill=prefill)

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """By letter; free answers, and teacher-forced ones, where the text begins with the answer."""
        graded = super().grade(item, text, prefill, tokens=tokens)
        if item.options and self.config.form == "generate":
            return graded
        if self.config.form == "teacher_forced":
            right = text.strip().lower().startswith(item.gold.lower())
        elif len(item.gold) == 1:
            right = item.gold in text.split(")")[0]
        else:
            right = item.gold.lower() in text.lower()
        return replace(graded, parsed=text or None, given=float(right))

    def draw(self, graded: Sequence[Graded], path: Path) -> bool:
        """The heat map: depth in rows, length in columns, in the colours of LongVA's."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: matplotlib, for drawings alone
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure

        minutes, depths = self.config.minutes, sorted(self.config.depths)
        grid_DM = np.full((len(depths), len(minutes)), np.nan)
        for row, depth in enumerate(depths):
            for column, length in enumerate(minutes):
                cell = [g.score for g in graded if g.labels.get("cell") == (f"{length:g} min/{depth} %",)]
                if cell:
                    grid_DM[row, column] = float(np.mean(cell))
        figure = Figure(figsize=(1.8 + 0.9 * len(minutes), 1.6 + 0.45 * len(depths)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        colours = LinearSegmentedColormap.from_list("needle", ["#F0496E", "#EBB839", "#9ad5b3"])
        image = axes.imshow(grid_DM, cmap=colours, vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(minutes)), [_length(length) for length in minutes])
        axes.set_yticks(range(len(depths)), [f"{depth} %" for depth in depths])
        axes.set_xlabel("length of the haystack")
        axes.set_ylabel("depth of the needle")
        for (row, column), value in np.ndenumerate(grid_DM):
            if not np.isnan(value):
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize="small")
        figure.colorbar(image, ax=axes, label="share found")
        with whole_file(path) as part:
            figure.savefig(part, format="png", dpi=120)
        return True

    def protocol(self) -> dict[str, Any]:
        """All that the grid is made of but its size: cells are comparable one by one."""
        names = ("needle_frames", "variant", "kind", "haystack", "files", "form", "seed")
        return {"benchmark": self.name, **{name: getattr(self.config, name) for name in names}}

    def _question(self, minutes: float, depth: int, number: int) -> tuple[str, tuple[str, ...], str]:
        """(question, options, right letter or text)."""
        if self.config.files is not None:
            rows, _ = self._listed()
            _, question, answer = rows[number % len(rows)]
            return question, (), answer
        if self.config.variant == "count":
            colour, many = self._counted(minutes, depth, number)
            return f"How many times is a {colour} shape shown?", NUMBERS, ascii_uppercase[many - 1]
        if self.config.kind == "natural":
            facts = self._scene(number)["questions"][0]
            return facts["question"], tuple(facts["options"]), facts["answer"]
        first = self._drawn(minutes, depth, number)[0]
        kind = "first_colour" if self.config.variant == "order" else "colour"
        return KINDS[kind].question, tuple(COLOURS), ascii_uppercase[first]

    def _needles(self, minutes: float, depth: int, number: int) -> list[Needle]:
        """What is put into the haystack."""
        at = depth / 100
        if self.config.files is not None:
            rows, _ = self._listed()
            file = Path(self.config.files) / rows[number % len(rows)][0]
            return [Needle(read_rgb(file)[None], at)]
        if self.config.variant == "count":
            colour, many = self._counted(minutes, depth, number)
            frames_FHWC = _shape(colour, self.config.seed, number)
            return [Needle(frames_FHWC, (at + k / 4) % 1.0) for k in range(many)]
        if self.config.kind == "natural":
            scene = self._scene(number)
            return [
                Needle(clip_frames(scene["video"], np.linspace(0, scene["seconds"] - 0.2, 4).tolist()), at)
            ]
        first, second = self._drawn(minutes, depth, number)
        names = tuple(COLOURS)
        needles = [Needle(_shape(names[first], self.config.seed, number), at)]
        if self.config.variant == "order":  # the other one stands behind it, half of what is left away
            needles.append(Needle(_shape(names[second], self.config.seed, number + 1), at + (1 - at) / 2))
        return needles

    def _drawn(self, minutes: float, depth: int, number: int) -> tuple[int, int]:
        """Numbers of the colours of a cell's needle, and of the other one where there are two."""
        chance = generator(self.config.seed, "needle", f"{minutes:g}", depth, number)
        first = (number + int(generator(self.config.seed, "cell", f"{minutes:g}", depth).integers(4))) % 4
        return first, (first + 1 + int(chance.integers(3))) % 4

    def _counted(self, minutes: float, depth: int, number: int) -> tuple[str, int]:
        first, other = self._drawn(minutes, depth, number)
        return tuple(COLOURS)[other], first + 1

    def _scene(self, number: int) -> dict[str, Any]:
        facts = clip_facts()
        return facts[number % len(facts)]

    def _listed(self) -> tuple[list[tuple[str, str, str]], str]:
        """((file, prompt, answer) of each needle of a folder, the prefill) of either published form.

        Raises:
            DataError: needles.json is of neither form.
        """
        file = Path(str(self.config.files)) / "needles.json"
        value = read_json(file)
        if isinstance(value, list):
            return [(row["path"], row["prompt"], str(row["answer"])) for row in value], ""
        if isinstance(value, dict) and {"retrieval_question", "answer", "needle"} <= value.keys():
            rows = zip(value["needle"], value["retrieval_question"], value["answer"], strict=True)
            return [(name, question, str(answer)) for name, question, answer in rows], "Best option:("
        raise DataError(
            f'{file} is of neither form.\n  LongVA: [{{"path": …, "prompt": …, "answer": …}}]\n'
            '  Video-XL: {"retrieval_question": […], "answer": […], "needle": […]}'
        )


def _shape(colour: str, seed: int, number: int) -> np.ndarray:
    """A drawn shape of a colour, uint8 frames_FHWC, of clips that no run is trained on."""
    options = tuple(COLOURS)
    return list(draw_clips("colour", len(options), seed + 7919 * number, "needle"))[
        options.index(colour)
    ].frames_FHWC


def _length(minutes: float) -> str:
    return f"{minutes:g} min" if minutes < 120 else f"{minutes / 60:g} h"
