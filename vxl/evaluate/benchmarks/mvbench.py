"""MVBench (Li et al. 2023, arXiv 2311.17005): twenty tasks on short clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.evaluate import prompts
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts, choice_item, strings
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import find_video, read_rows
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, macro, micro
from vxl.evaluate.scoring import Graded
from vxl.patience import is_file

_CLEVRER = "clevrer/video_validation"
_PERCEPTION = "perception/videos"
# Task -> folders: of the pre-cut revision first (nothing is cut again there), then of the main one.
FOLDERS: dict[str, tuple[str, ...]] = {
    "action_sequence": ("star/Charades_segment", "star/Charades_v1_480"),
    "action_prediction": ("star/Charades_segment", "star/Charades_v1_480"),
    "action_antonym": ("ssv2_video_mp4", "ssv2_video"),
    "fine_grained_action": ("Moments_in_Time_Raw/videos",),
    "unexpected_action": ("FunQA_test/test",),
    "object_existence": (_CLEVRER,),
    "object_interaction": ("star/Charades_segment", "star/Charades_v1_480"),
    "object_shuffle": (_PERCEPTION,),
    "moving_direction": (_CLEVRER,),
    "action_localization": ("sta/sta_video_segment", "sta/sta_video"),
    "scene_transition": ("scene_qa/video",),
    "action_count": (_PERCEPTION,),
    "moving_count": (_CLEVRER,),
    "moving_attribute": (_CLEVRER,),
    "state_change": (_PERCEPTION,),
    "fine_grained_pose": ("nturgbd_convert", "nturgbd"),
    "character_order": (_PERCEPTION,),
    "egocentric_navigation": ("vlnqa",),
    "episodic_reasoning": ("tvqa/video_fps3_hq_segment", "tvqa/frames_fps3_hq"),
    "counterfactual_inference": (_CLEVRER,),
}


@dataclass(frozen=True, kw_only=True)
class MvBenchConfig(OfficialConfig):
    """MVBench: twenty tasks of 200 questions on short clips.

    Data: `OpenGVLab/MVBench`, `json/` and `video/` (the main revision, or the pre-cut one); annotations MIT,
    videos under their own terms, those of fine_grained_pose only from NTU. Numbers: mean of the tasks'
    accuracies (chance 28.3 %); over 3800 questions without fine_grained_pose.
    """

    _target_: str = "vxl.evaluate.benchmarks.mvbench.MvBench"


class MvBench(Official[MvBenchConfig]):
    """MVBench."""

    name = "mvbench"
    home = "https://huggingface.co/datasets/OpenGVLab/MVBench"
    licence = "annotations MIT, videos under their own terms"
    presets = ("lmms", "official", "videoxl2")
    counts = Counts(
        4000,
        golds={"A": 1189, "B": 1080, "C": 1045, "D": 635, "E": 51},
        options={1: 5, 2: 118, 3: 1301, 4: 2376, 5: 200},
        kinds=dict.fromkeys(FOLDERS, 200),
    )

    def __init__(self, config: MvBenchConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        if config.prompt == "official":
            self.max_new_tokens = 100

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of json/<task>.json, in the tasks' order."""
        folder = place / "json" if (place / "json").is_dir() else place
        items: list[BenchmarkItem] = []
        absent = [task for task in FOLDERS if not is_file(folder / f"{task}.json")]
        if len(absent) == len(FOLDERS):
            raise DataError(
                f"benchmark=mvbench: no action_sequence.json … in {folder}.\n  expected: MVBench/json"
            )
        if absent:
            self.notes.append(f"no annotations of {', '.join(absent)}")
        for task in FOLDERS:
            if task in absent:
                continue
            path = folder / f"{task}.json"
            for number, row in enumerate(read_rows(path)):
                items.append(self._item(row, task, number, len(items), f"{path}, item {number}"))
        return items

    def _item(self, row: dict[str, Any], task: str, number: int, index: int, where: str) -> BenchmarkItem:
        item = choice_item(row, task, key=f"{task}/{number}", index=index, where=where)
        return replace(item, start=row.get("start"), end=row.get("end"))

    def file_of(self, item: BenchmarkItem) -> Path | None:
        """The clip in one of the task's folders."""
        return self._found(item)[0]

    def part_of(self, item: BenchmarkItem) -> tuple[float | None, float | None]:
        """The seconds to show: all of a clip that was cut already."""
        return (None, None) if self._found(item)[1] else (item.start, item.end)

    def _found(self, item: BenchmarkItem) -> tuple[Path | None, bool]:
        """(file, whether it is cut already)."""
        super().file_of(item) if not self.config.videos else None
        root = Path(str(self.config.videos)).expanduser()
        for folder in FOLDERS[item.kind]:
            for below in (root / folder, root / "video" / folder):
                video = find_video(below, item.video)
                if video is not None:
                    return video, folder.endswith("_segment")
        return None, False

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """The authors' system turn and bracket, or lmms-eval's single turn."""
        texts, options = strings(), "\n".join(prompts.bracketed(item.options))
        if preset == "official":
            user = f"Question: {item.question}\nOptions:\n{options}{texts['mvbench.official.user_end']}"
            return PromptParts(user, texts["mvbench.official.system"], texts["mvbench.official.prefill"])
        return PromptParts(f"Question:{item.question}\nOption:\n{options}\nOnly give the best option.\n")

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """The authors' comparison (an empty answer is right), or lmms-eval's."""
        if self.config.prompt == "official":
            return legacy.mvbench_official(text, item.gold)
        return legacy.mvbench_lmms(text)

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """Mean of the tasks; over all questions it is the same where no video is missing."""
        return [macro(graded, "mean of tasks"), micro(graded, "micro accuracy")]
