"""Does a model that was trained under pruning bear more of it?"""

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
    axis_of_shares,
    bars,
    baseline_lines,
    differences,
    main,
    mark_baselines,
    plt,
    points,
    save_figure,
    seeds,
)

KEEP = (1 / 4, 1 / 8, 1 / 16)
BUDGETS = ",".join(f"{keep:g}" for keep in KEEP)
PRUNERS = ("uniform", "evs")
PLAIN = "compressor=none"


def members(base: Base) -> list[Member]:
    """Trained on everything, and under each pruner; each asked at every budget."""
    budgets = [f"prune={name} prune.keep={BUDGETS}" for name in PRUNERS]
    found = seeds("full", PLAIN, asked=("", *budgets), cost=5)
    for name, asked in zip(PRUNERS, budgets, strict=True):
        words = f"{PLAIN} prune={name} prune.keep=0.25"
        found += seeds(f"trained_{name}", words, asked=("prune=none", asked), cost=2)
    return [*found, *BASELINES]


def rows(found: Found, base: Base) -> list[dict[str, Any]]:
    """Each budget: trained under pruning against trained on everything, asked alike."""
    made = []
    for (name, variant), setting in found.items():
        words = dict(word.split("=", 1) for word in variant.split(",")) if "=" in variant else {}
        pruner = words.get("prune", "none")
        plain = found.get(("full", "" if pruner == "none" else variant))
        if plain is not None and (name.startswith("trained_") or (name == "full" and variant != "blind")):
            row = {"trained": name, "asked": pruner, "keep": float(words.get("prune.keep", 1))}
            made.append(setting.plain() | row | against(plain, setting))
    return sorted(made, key=lambda row: (row["asked"], -row["keep"], row["trained"]))


def answer(numbers: dict[str, Any], whole: dict[str, Any]) -> Answer:
    """What each training changes without pruning, at the budget it was trained under, and at the smallest."""
    rows = [
        row
        for row in numbers["rows"]
        if (row["trained"] == f"trained_{row['asked']}" and row["keep"] in (KEEP[0], KEEP[-1]))
        or (row["trained"] != "full" and row["asked"] == "none")
    ]
    names = [
        f"{row['trained'].removeprefix('trained_')} asked "
        + ("about everything" if row["asked"] == "none" else f"at 1/{round(1 / row['keep'])}")
        for row in rows
    ]
    parts, ends = differences(names, rows)
    return Answer(f"training under pruning changes {parts or 'what is not known yet'}", ends)


def lines(numbers: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| asked under | kept | trained under | seeds | accuracy, % | against trained on everything | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in numbers["rows"]:
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
    return text + baseline_lines(numbers, columns=7, place=4)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Accuracy by what is kept, a panel a pruner."""
    figure, axes = plt.subplots(1, len(PRUNERS), figsize=(9, 4.4), layout="constrained", sharey=True)
    for axis, pruner in zip(axes, PRUNERS, strict=True):
        for place, trained in enumerate(("full", f"trained_{pruner}")):
            rows = [r for r in numbers["rows"] if r["trained"] == trained and r["asked"] in (pruner, "none")]
            rows.sort(key=lambda row: row["keep"])
            label = "trained on everything" if trained == "full" else f"trained under {pruner} at 1/4"
            bars(axis, rows, [row["keep"] for row in rows], label, f"C{place}")
        mark_baselines(axis, numbers)
        axis_of_shares(axis, [1, *KEEP], f"share of visual tokens kept by prune={pruner}")
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    axes[0].set_ylabel("right answers, %")
    save_figure(figure, path)


STUDY = Study(
    here=Path(__file__).parent,
    question=__doc__ or "",
    members=members,
    needs="full",
    called="the model trained on everything",
    rows=rows,
    answer=answer,
    lines=lines,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(main(STUDY))
