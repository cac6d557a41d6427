"""Does it help that the compressor first reconstructs the tower's patches, with or without a mask?"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from studies import (
    BASELINES,
    Answer,
    Base,
    Found,
    Member,
    Study,
    against,
    baseline_lines,
    differences,
    draw_rows,
    main,
    points,
    seeds,
)

DTS = "compressor=dts compressor.ratio=16"
SLOW = f"{DTS} stage.part_lr.compressor=1e-4"
RECONSTRUCT = f"stage=dts_reconstruct stage.train=[compressor] stage.part_lr.llm=null stage.lr=5e-4 {DTS}"
PROBE = f"{DTS} stage.train=[projector,llm]"
WORDS = {
    "dts_16": "no pre-training, all learns",
    "dts_16_plain": "reconstruction, no mask, all learns",
    "dts_16_masked": "reconstruction, guided mask, all learns",
    "dts-slow_16": "no pre-training, compressor at a tenth of the rate",
    "dts-slow_16_plain": "reconstruction, no mask, compressor at a tenth of the rate",
    "dts-slow_16_masked": "reconstruction, guided mask, compressor at a tenth of the rate",
    "probe": "no pre-training, compressor frozen at random",
    "probe_plain": "reconstruction, no mask, compressor frozen",
    "probe_masked": "reconstruction, guided mask, compressor frozen",
}


def members(base: Base) -> list[Member]:
    """Two pre-trainings; after each, and without: all learns, at two rates, or all but the compressor."""
    return [
        *seeds("recot_masked", f"{RECONSTRUCT} stage.reconstruct.mask=0.5", asked=()),
        *seeds("recot_plain", f"{RECONSTRUCT} stage.reconstruct.mask=0", asked=()),
        *seeds("dts_16", DTS),
        *seeds("dts_16_masked", DTS, after="recot_masked"),
        *seeds("dts_16_plain", DTS, after="recot_plain"),
        *seeds("dts-slow_16", SLOW),
        *seeds("dts-slow_16_masked", SLOW, after="recot_masked"),
        *seeds("dts-slow_16_plain", SLOW, after="recot_plain"),
        *seeds("probe", PROBE),
        *seeds("probe_masked", PROBE, after="recot_masked"),
        *seeds("probe_plain", PROBE, after="recot_plain"),
        *BASELINES,
    ]


def rows(found: Found, base: Base) -> list[dict[str, Any]]:
    """Each setting against the one trained alike without pre-training."""
    made = []
    for name, words in WORDS.items():
        first = next(first for first in ("dts_16", "dts-slow_16", "probe") if name.startswith(first))
        plain = found.get((first, ""))
        if (name, "") in found and plain is not None:
            setting = found[name, ""]
            made.append(setting.plain() | {"words": words, "against": plain.name} | against(plain, setting))
    return made


def errors(runs: Path) -> dict[str, Any]:
    """The held-out error of every pre-training."""
    found = {
        path.parent.name: json.loads(path.read_text())["heldout_loss"]
        for path in sorted(runs.glob("recot_*/RESULT.json"))
    }
    return {"errors": found}


def answer(numbers: dict[str, Any], plain: dict[str, Any]) -> Answer:
    """What pre-training with and without the mask changes."""
    rows = [row for row in numbers["rows"] if row["name"] != row["against"]]
    parts, ends = differences([row["words"] for row in rows], rows)
    return Answer(f"against the same without pre-training: {parts}", ends)


def lines(numbers: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| setting | seeds | accuracy, % | against no pre-training, points | p |",
        "|---|---|---|---|---|",
    ]
    for row in numbers["rows"]:
        same = row["name"] == row["against"]
        difference = "" if same else points(row["difference"], row["difference_interval"], signed=True)
        p_value = "" if same else f"{row['p']:.2g}"
        text.append(
            f"| {row['words']} | {len(row['seeds'])} | {points(row['accuracy'], row['interval'])} | "
            f"{difference} | {p_value} |"
        )
    return text + baseline_lines(numbers, columns=5, place=2)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Accuracies, one below the other."""
    draw_rows(numbers, [row["words"] for row in numbers["rows"]], path)


STUDY = Study(
    here=Path(__file__).parent,
    question=__doc__ or "",
    members=members,
    needs="dts_16",
    called="the model without pre-training",
    rows=rows,
    answer=answer,
    lines=lines,
    draw=draw,
    extra=errors,
)

if __name__ == "__main__":
    raise SystemExit(main(STUDY))
