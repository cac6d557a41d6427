"""What may be forgotten? Every policy and pruner on one trained model, at 1/2 to 1/32 of the tokens."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import matplotlib.pyplot as plt
from studies import Found, Member, against, axis_of_shares, points, run_study, save_figure

HERE = Path(__file__).parent
KEEP = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
BUDGETS = ",".join(f"{keep:g}" for keep in KEEP)
POLICIES = (
    *("recent", "uniform", "random", "snapkv", "knorm", "quick", "keydiff", "tova", "h2o", "expected"),
    *("infinipot", "pyramid", "lagkv", "criticalkv", "kvzip", "hermes", "adaretake", "proxy"),
)
PRUNERS = (
    *("recent", "uniform", "evs", "vidcom2", "dtd", "tome"),
    *("fastvid", "flashvid", "dycoke", "visionzip"),
)
BASELINES = ("recent", "uniform", "random")
"""Policies that look at nothing."""
FAR = 1.5
"""Minutes before the end from which a needle is far."""
ASKED = (
    "",
    *(f"kv={name} kv.keep={BUDGETS} kv.of=visual" for name in POLICIES),
    *(f"prune={name} prune.keep={BUDGETS}" for name in PRUNERS),
)
MEMBERS = [Member("full", "compressor=none", 0, asked=ASKED, cost=5)]


def result(found: Found, runs: Path) -> dict[str, Any]:
    """Every variant against the whole cache, and against `recent` at the same budget."""
    base = found["full", ""]
    rows = []
    for (_, variant), setting in found.items():
        words = dict(word.split("=", 1) for word in variant.split(",")) if variant else {"kv": "full"}
        group = "prune" if "prune" in words else "kv"
        keep = float(words.get(f"{group}.keep", 1))
        row = (
            setting.plain() | {"group": group, "method": words[group], "keep": keep} | against(base, setting)
        )
        recent = f"kv=recent,kv.keep={words.get('kv.keep')},kv.of=visual" if group == "kv" else ""
        recent = f"prune=recent,prune.keep={words.get('prune.keep')}" if group == "prune" else recent
        if ("full", recent) in found and variant:
            row["against_recent"] = against(found["full", recent], setting)
        rows.append(row | {"ago": by_distance(runs / "full_0" / "evaluate" / variant / "long.json")})
    return {"rows": sorted(rows, key=lambda row: (row["group"], row["method"], -row["keep"]))}


def by_distance(path: Path) -> dict[str, list[int]]:
    """(right, asked) of each stretch of time before the end."""
    counts: dict[str, list[int]] = {}
    for answer in json.loads(path.read_text())["answers"]:
        count = counts.setdefault(answer["labels"]["ago"][0], [0, 0])
        count[0] += answer["right"]
        count[1] += 1
    return counts


def lines(found: dict[str, Any]) -> list[str]:
    """The README's table: a line a method, a column a budget."""
    heads = " | ".join(f"1/{round(1 / keep)}" for keep in KEEP)
    text = [f"| method | {heads} |", "|---" * (1 + len(KEEP)) + "|"]
    whole = next(row for row in found["rows"] if row["keep"] == 1)
    text.append(f"| `kv=full` (all kept) | {points(whole['accuracy'], whole['interval'])}" + " |" * len(KEEP))
    methods = dict.fromkeys((row["group"], row["method"]) for row in found["rows"] if row["keep"] < 1)
    for group, method in methods:
        cells = []
        for keep in KEEP:
            row = next(
                (
                    r
                    for r in found["rows"]
                    if (r["group"], r["method"]) == (group, method) and r["keep"] == float(f"{keep:g}")
                ),
                None,
            )
            cells.append("" if row is None else points(row["accuracy"], row["interval"]))
        text.append(f"| `{group}={method}` | {' | '.join(cells)} |")
    return text


def draw(found: dict[str, Any], path: Path) -> None:
    """Accuracy by share kept; policies on the left, pruners on the right, baselines dashed."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    whole = next(row for row in found["rows"] if row["keep"] == 1)
    for axis, group in zip(axes, ("kv", "prune"), strict=True):
        rows = [row for row in found["rows"] if row["group"] == group and row["keep"] < 1]
        for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            own = [row for row in rows if row["method"] == method]
            axis.plot(
                [row["keep"] for row in own],
                [100 * row["accuracy"] for row in own],
                color=f"C{number % 10}",
                marker="os^vDP"[number // 10],
                linestyle="--" if method in BASELINES else "-",
                linewidth=2 if method in BASELINES else 1,
                label=method,
            )
        axis.axhline(100 * whole["accuracy"], color="black", linewidth=1)
        axis_of_shares(axis, KEEP, f"share of visual tokens kept by {group}=…")
        axis.legend(fontsize=7, ncols=2)
    axes[0].set_ylabel("right answers, % (solid line: all kept; dotted: chance)")
    save_figure(figure, path)


if __name__ == "__main__":
    run_study(HERE, __doc__ or "", MEMBERS, result, lines, draw)
