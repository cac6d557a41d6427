"""Does it help that the compressor first reconstructs the tower's patches, with or without a mask?"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from studies import Found, against, draw_side_by_side, points, run_study, seeds

HERE = Path(__file__).parent
DTS = "compressor=dts compressor.ratio=16"
RECONSTRUCT = f"stage=dts_reconstruct stage.train=[compressor] stage.part_lr.llm=null stage.lr=5e-4 {DTS}"
PROBE = f"{DTS} stage.train=[projector,llm]"
MEMBERS = [
    *seeds("recot_masked", f"{RECONSTRUCT} stage.reconstruct.mask=0.5", asked=()),
    *seeds("recot_plain", f"{RECONSTRUCT} stage.reconstruct.mask=0", asked=()),
    *seeds("dts_16", DTS),
    *seeds("dts_16_masked", DTS, after="recot_masked"),
    *seeds("dts_16_plain", DTS, after="recot_plain"),
    *seeds("probe", PROBE),
    *seeds("probe_masked", PROBE, after="recot_masked"),
    *seeds("probe_plain", PROBE, after="recot_plain"),
]
WORDS = {
    "dts_16": "no pre-training, all learns",
    "dts_16_plain": "reconstruction, no mask, all learns",
    "dts_16_masked": "reconstruction, guided mask, all learns",
    "probe": "no pre-training, compressor frozen at random",
    "probe_plain": "reconstruction, no mask, compressor frozen",
    "probe_masked": "reconstruction, guided mask, compressor frozen",
}


def result(found: Found, runs: Path) -> dict[str, Any]:
    """Each setting against the one trained alike without pre-training; errors of reconstruction."""
    rows = []
    for name, words in WORDS.items():
        if (name, "") in found:
            base = found["probe" if name.startswith("probe") else "dts_16", ""]
            setting = found[name, ""]
            rows.append(setting.plain() | {"words": words, "against": base.name} | against(base, setting))
    errors = {
        path.parent.name: json.loads(path.read_text())["heldout_loss"]
        for path in sorted(runs.glob("recot_*/RESULT.json"))
    }
    return {"rows": rows, "errors": errors}


def lines(found: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| setting | seeds | accuracy, % | against no pre-training, points | p |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        same = row["name"] == row["against"]
        difference = "" if same else points(row["difference"], row["difference_interval"], signed=True)
        p_value = "" if same else f"{row['p']:.2g}"
        text.append(
            f"| {row['words']} | {len(row['seeds'])} | {points(row['accuracy'], row['interval'])} | "
            f"{difference} | {p_value} |"
        )
    return text


def draw(found: dict[str, Any], path: Path) -> None:
    """Accuracies, side by side."""
    labels = [row["words"] for row in found["rows"]]
    draw_side_by_side(found["rows"], labels, path)


if __name__ == "__main__":
    run_study(HERE, __doc__ or "", MEMBERS, result, lines, draw)
