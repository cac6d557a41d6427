"""VDC (Chai et al. 2024, arXiv 2410.03051): dense captions, judged by questions about them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vxl.evaluate.benchmarks.annotations import Counts, strings
from vxl.evaluate.benchmarks.judged import Ask, Judged, JudgedConfig
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, micro, scored
from vxl.evaluate.scoring import Graded
from vxl.evaluate.work.judge import filled, last_dict, within


@dataclass(frozen=True, kw_only=True)
class VdcConfig(JudgedConfig):
    """VDC: captions of 1027 videos, of five kinds.

    Data: `wchai/lmms_VDC_test`, Parquet or JSON rows of `video_name, caption, qa_list`. Numbers need a judge
    (a language model answers each question from the caption, and is judged): they depend on it, and are not
    comparable across judges. Without one the captions are written, and nothing is scored.
    """

    _target_: str = "vxl.evaluate.benchmarks.vdc.Vdc"
    kind: Literal["detailed", "short", "background", "main_object", "camera"] = "detailed"
    """What captions are about."""


class Vdc(Judged[VdcConfig]):
    """VDC: writes captions, and has them judged."""

    name = "vdc"
    home = "https://huggingface.co/datasets/wchai/lmms_VDC_test"
    licence = "research"
    presets = ("lmms",)
    max_new_tokens = 512
    published_judge = "meta-llama/Llama-3.1-8B-Instruct"
    needs_judge = "VDC score"
    counts = Counts(1027, 1027)

    def __init__(self, config: VdcConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of one kind's file."""
        kind = self.config.kind
        path = one_file(place, (f"{kind}.json", f"{kind}.jsonl", f"{kind}/test-00000-of-00001.parquet"))
        items = []
        for number, row in enumerate(read_rows(path)):
            where = f"{path}, row {number}"
            video = str(field(row, "video_name", where))
            items.append(
                BenchmarkItem(
                    key=f"{kind}/{video}",
                    index=number,
                    video=video,
                    cluster=video,
                    kind=kind,
                    question=self._prompt(video),
                    gold=str(field(row, "caption", where)),
                    asks="caption",
                    judged=True,
                    reference=row.get("qa_list") or [],
                )
            )
        return items

    def _prompt(self, video: str) -> str:
        """One of the published wordings, which lmms-eval draws at random, fixed by the video's name."""
        wordings = strings()[f"vdc.{self.config.kind}"]
        number = int.from_bytes(hashlib.sha256(video.encode()).digest()[:4], "big")
        return wordings[number % len(wordings)]

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The wording alone."""
        return PromptParts(item.question)

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """Kept as it is: only a judge could score it."""
        return Graded.of(item, text, None, tokens=tokens)

    def verdict(self, item: BenchmarkItem, text: str, ask: Ask) -> dict[str, float] | None:
        """Each question answered by the judge from the caption, and judged (yes or no, 0 to 5); the means
        over the caption's questions."""
        texts, rights, points = strings(), [], []
        for pair in item.reference:
            question, answer = str(pair["question"]), str(pair["answer"])
            prediction = ask(
                texts["vdc.judge.gener_pred_response.system"],
                filled(texts["vdc.judge.gener_pred_response.user"], {"{pred_cap}": text, "{q}": question}),
            )
            places = {"question": question, "answer": answer, "pred_answer": prediction}
            reply = ask(
                texts["vdc.judge.gener_pred_score.system"],
                filled(
                    texts["vdc.judge.gener_pred_score.user"],
                    {f"{{qa['{name}']}}": value for name, value in places.items()},
                ),
            )
            marks = last_dict(reply) or {}
            right, score = str(marks.get("pred")).strip().lower(), within(marks.get("score"), 0, 5)
            if right not in ("yes", "no") or score is None:
                return None
            rights.append(right == "yes")
            points.append(score)
        if not rights:
            return None
        return {"score": sum(rights) / len(rights), "points": sum(points) / len(points)}

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """The share of questions that captions answer, and the judge's points; none without a judge."""
        with_verdict = [item for item in graded if item.given is not None]
        if not with_verdict:
            return []
        points = scored(with_verdict, lambda item: (item.verdict or {}).get("points", 0.0))
        return [micro(with_verdict), Metric("VDC score (0 to 5)", points, scale=1.0)]

    def submission(self, graded: Sequence[Graded]) -> tuple[str, str] | None:
        """`{video_name: caption}`."""
        captions = {item.key.partition("/")[2]: item.text for item in graded}
        return f"vdc_{self.config.kind}.json", json.dumps(captions, indent=1, ensure_ascii=False) + "\n"

    def protocol(self) -> dict[str, Any]:
        """The kind of caption."""
        return super().protocol() | {"kind": self.config.kind}
