"""Does a model that was trained under pruning bear more of it?"""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import matplotlib.pyplot as plt
from studies import Found, against, axis_of_shares, bars, points, run_study, save_figure, seeds

HERE = Path(__file__).parent
KEEP = (1 / 4, 1 / 8, 1 / 16)
BUDGETS = ",".join(f"{keep:g}" for keep in KEEP)
PRUNERS = ("uniform", "evs")
PLAIN = "compressor=none"
MEMBERS = [
    *seeds("full", PLAIN, asked=("", *(f"prune={name} prune.keep={BUDGETS}" for name in PRUNERS)), cost=5),
    *(
        member
        for name in PRUNERS
        for member in seeds(
            f"trained_{name}",
            f"{PLAIN} prune={name} prune.keep=0.25",
            asked=("prune=none", f"prune={name} prune.keep={BUDGETS}"),
            cost=2,
        )
    ),
]


def result(found: Found, runs: Path) -> dict[str, Any]:
    """Each budget: trained under pruning against trained on everything, asked alike."""
    rows = []
    for (name, variant), setting in found.items():
        words = dict(word.split("=", 1) for word in variant.split(",")) if variant else {}
        pruner = words.get("prune", "none")
        keep = float(words.get("prune.keep", 1))
        plain = found["full", "" if pruner == "none" else variant]
        row = setting.plain() | {"trained": name, "asked": pruner, "keep": keep}
        rows.append(row | against(plain, setting))
    return {"rows": sorted(rows, key=lambda row: (row["asked"], -row["keep"], row["trained"]))}


def lines(found: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| asked under | kept | trained under | seeds | accuracy, % | against trained on everything | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        trained = {"full": "nothing"}.get(
            row["trained"], row["trained"].replace("trained_", "prune=") + " at 1/4"
        )
        alike = row["trained"] == "full"
        difference = "" if alike else points(row["difference"], row["difference_interval"], signed=True)
        text.append(
            f"| `prune={row['asked']}` | 1/{round(1 / row['keep'])} | {trained} | {len(row['seeds'])} | "
            f"{points(row['accuracy'], row['interval'])} | {difference} | "
            f"{'' if alike else format(row['p'], '.2g')} |"
        )
    return text


def draw(found: dict[str, Any], path: Path) -> None:
    """Accuracy by what is kept, a panel a pruner."""
    figure, axes = plt.subplots(1, len(PRUNERS), figsize=(9, 3.8), layout="constrained", sharey=True)
    for axis, pruner in zip(axes, PRUNERS, strict=True):
        for place, trained in enumerate(("full", f"trained_{pruner}")):
            rows = [r for r in found["rows"] if r["trained"] == trained and r["asked"] in (pruner, "none")]
            rows.sort(key=lambda row: row["keep"])
            label = "trained on everything" if trained == "full" else f"trained under {pruner} at 1/4"
            bars(axis, rows, [row["keep"] for row in rows], label, f"C{place}")
        axis_of_shares(axis, [1, *KEEP], f"share of visual tokens kept by prune={pruner}")
        axis.legend(fontsize=8)
    axes[0].set_ylabel("right answers, %")
    save_figure(figure, path)


if __name__ == "__main__":
    run_study(HERE, __doc__ or "", MEMBERS, result, lines, draw)
