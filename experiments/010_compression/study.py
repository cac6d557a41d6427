"""Does compression hold? Nothing, pooling, DTS, VST and fewer frames at equal numbers of visual tokens."""

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
    Setting,
    Study,
    against,
    bars,
    baseline_lines,
    interval_text,
    kept,
    main,
    mark_baselines,
    plt,
    points,
    save_figure,
    seeds,
)

METHODS = {
    "pool": ("compressor=pool compressor.ratio={ratio}", (64,), 1.0),
    "dts": ("compressor=dts compressor.ratio={ratio}", (2, 8, 64), 1.0),
    "dts-slow": ("compressor=dts compressor.ratio={ratio} stage.part_lr.compressor=1e-4", (), 1.0),
    "vst": ("compressor=none kv=vst kv.ratio={ratio}", (2, 8), 6.0),
}
"""Words, ratios with one seed beside those of `RATIOS`, how long a run takes."""
RATIOS = (4, 16)
"""With all seeds."""
SAID = {
    "full": "uncompressed",
    "pool": "pooling",
    "dts": "DTS",
    "dts-slow": "DTS at a tenth of the rate",
    "vst": "VST",
    "fewer": "fewer frames",
}


def members(base: Base) -> list[Member]:
    """The uncompressed model, every method at every ratio, and as many tokens from fewer frames."""
    found = [*seeds("full", "compressor=none", cost=5), *BASELINES]
    for ratio in RATIOS:
        if ratio < base.frames:  # else it is a single frame, which is a baseline, or none
            found += seeds(f"fewer_{ratio}", f"compressor=none video.max_frames={base.frames // ratio}")
        for method, (words, _, cost) in METHODS.items():
            found += seeds(f"{method}_{ratio}", words.format(ratio=ratio), cost=cost)
    if base.whole:
        found += [Member("fewer_2", f"compressor=none video.max_frames={base.frames // 2}", cost=2)]
        for method, (words, ratios, cost) in METHODS.items():
            found += [Member(f"{method}_{ratio}", words.format(ratio=ratio), cost=cost) for ratio in ratios]
    return found


def ratio_of(name: str) -> int:
    """How many times fewer tokens than the uncompressed model's a setting answers from."""
    method, _, number = name.partition("_")
    return 1 if method == "full" else int(number)


def budget(setting: Setting, base: Base) -> float:
    """Visual tokens that a setting answers from.

    Raises:
        SystemExit: They are not those that it is compared at; then nothing is compared.
    """
    ratio = ratio_of(setting.name)
    meant = base.tokens / ratio
    # What the evaluation counts goes into the language model, where VST keeps a token of every `ratio`.
    measured = setting.tokens / ratio if setting.name.startswith("vst") else setting.tokens
    if measured != meant:
        raise SystemExit(
            f"{setting.name} answered from {measured:g} visual tokens, and is compared at {meant:g}: "
            "the budgets are not equal"
        )
    return measured


def rows(found: Found, base: Base) -> list[dict[str, Any]]:
    """Every setting against the uncompressed one, most tokens first."""
    whole = found["full", ""]
    made = []
    for (name, variant), setting in found.items():
        if name.partition("_")[0] in SAID and not variant:
            row = setting.plain() | {"tokens": budget(setting, base), "cache_bytes": setting.cache_bytes}
            row |= {"kinds": {kind: setting.of(kind).plain() for kind in setting.kinds}}
            made.append(row | against(whole, setting) | kept(whole, setting))
    return sorted(made, key=lambda row: (-row["tokens"], row["name"]))


def answer(numbers: dict[str, Any], whole: dict[str, Any]) -> Answer:
    """What is kept at the smallest of the budgets that all seeds have."""
    parts, ends = [], []
    for ratio in RATIOS:
        here = [row for row in numbers["rows"] if row["name"].endswith(f"_{ratio}")]
        shares = [f"by {SAID[row['name'].partition('_')[0]]} {share(row)}" for row in here]
        if shares:
            parts.append(f"at 1/{ratio} of the visual tokens {', '.join(shares)}")
        for row in here:
            ends.append(
                f"1/{ratio} {SAID[row['name'].partition('_')[0]]} {interval_text(row['kept_interval'])}"
            )
    above = f"{100 * (whole['accuracy'] - whole['chance']):.1f}"
    text = f"of the {above} points above chance are kept, {'; '.join(parts) or 'not known yet how many'}"
    ends.append(f"uncompressed {interval_text(whole['interval'])}")
    beside = [f"uncompressed {100 * whole['accuracy']:.1f} %"]
    for name, row in numbers["baselines"].items():
        said = name.replace("_", " ")
        beside.append(f"{said} {100 * row['accuracy']:.1f} %")
        ends.append(f"{said} {interval_text(row['interval'])}")
    return Answer(f"{text} (right: {', '.join(beside)})", "; ".join(ends))


def share(row: dict[str, Any]) -> str:
    """What a setting keeps; of one that may as well guess there is nothing to say in per cent."""
    learned = row["interval"] is not None and row["interval"][0] > row["chance"]
    return f"{100 * row['kept']:.0f} %" if learned else "none that is shown"


def losses(runs: Path) -> dict[str, Any]:
    """Where each training ended: what compresses worse may only have learned less far."""
    ends = {
        path.parent.name: json.loads(path.read_text())["loss_last"]
        for path in sorted(runs.glob("*/RESULT.json"))
    }
    return {"losses": ends}


def lines(numbers: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| setting | visual tokens | cache, kB | training loss, a seed each | accuracy, % "
        "| against `full` | kept above chance, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in numbers["rows"]:
        same = row["name"] == "full"
        runs = [f"{row['name']}_{seed}" for seed in row["seeds"]]
        ends = ", ".join(f"{numbers['losses'][run]:.2f}" for run in runs)
        text.append(
            f"| `{row['name']}` | {row['tokens']:g} | {row['cache_bytes'] / 1000:.0f} | {ends} | "
            f"{points(row['accuracy'], row['interval'])} | "
            f"{'' if same else points(row['difference'], row['difference_interval'], signed=True)} | "
            f"{'' if same else points(row['kept'], row['kept_interval'])} |"
        )
    return text + baseline_lines(numbers, columns=7, place=4)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Accuracy by visual tokens; methods of equal tokens stand a little apart."""
    figure, axis = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    colours = {
        "pool": "tab:orange",
        "dts": "tab:blue",
        "dts-slow": "tab:cyan",
        "vst": "tab:green",
        "fewer": "tab:grey",
        "full": "black",
    }
    for place, (method, colour) in enumerate(colours.items()):
        own = [row for row in numbers["rows"] if row["name"].partition("_")[0] == method]
        if own:
            apart = 1.0 if method == "full" else 2 ** (0.06 * (place - 2))
            bars(axis, own, [apart * row["tokens"] for row in own], SAID[method], colour)
    mark_baselines(axis, numbers)
    axis.set_xscale("log", base=2)
    ticks = sorted({row["tokens"] for row in numbers["rows"]})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("visual tokens that a question is answered from")
    axis.set_ylabel("right answers, %, with 95 % intervals")
    axis.set_ylim(0, 103)
    axis.set_title(numbers["size"].replace("`", ""), fontsize=9)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.grid(alpha=0.3)
    save_figure(figure, path)


STUDY = Study(
    here=Path(__file__).parent,
    question=__doc__ or "",
    members=members,
    needs="full",
    called="the uncompressed model",
    rows=rows,
    answer=answer,
    lines=lines,
    draw=draw,
    extra=losses,
)

if __name__ == "__main__":
    raise SystemExit(main(STUDY))
