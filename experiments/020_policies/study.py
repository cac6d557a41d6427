"""What may be forgotten? Every policy and pruner on one trained model, at 1/2 to 1/32 of the tokens."""

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
    axis_of_shares,
    baseline_lines,
    interval_text,
    main,
    mark_baselines,
    plt,
    points,
    save_figure,
    seeds,
)

KEEP = (1 / 2, 1 / 8, 1 / 32)
BUDGETS = ",".join(f"{keep:g}" for keep in KEEP)
POLICIES = (
    *("recent", "uniform", "random", "snapkv", "knorm", "quick", "keydiff", "tova", "h2o", "expected"),
    *("infinipot", "pyramid", "lagkv", "criticalkv", "kvzip", "hermes", "adaretake", "proxy"),
)
PRUNERS = (
    *("recent", "uniform", "evs", "vidcom2", "dtd", "tome"),
    *("fastvid", "flashvid", "dycoke", "visionzip"),
)
RELEVANCES = ("attention", "uniform", "random")
"""What says which chunks `kv=bilevel` reads in full; `siglip` needs another tower than `model=small` has."""
AT_QUESTION = ("snapkv", "pyramid", "criticalkv")
"""Policies that act when the question has been read, with everything: the first token of an answer, here all
of it, is said as if nothing had been forgotten."""
BLIND_POLICIES = ("recent", "uniform", "random")
"""Policies that look at nothing."""
ASKED = (
    "",
    *(f"kv={name} kv.keep={BUDGETS} kv.of=visual" for name in POLICIES),
    *(f"prune={name} prune.keep={BUDGETS}" for name in PRUNERS),
    *(f"kv=bilevel relevance={name} kv.groups_per_chunk=1 kv.keep={BUDGETS}" for name in RELEVANCES),
)


def members(base: Base) -> list[Member]:
    """One setting, asked under everything; at the true size, where that takes hours, of one seed."""
    found = seeds("full", "compressor=none", asked=ASKED, cost=5)
    return [*(member for member in found if member.seed == 0 or not base.whole), *BASELINES]


def rows(found: Found, base: Base) -> list[dict[str, Any]]:
    """Every variant against the whole cache, and against `recent` at the same budget."""
    whole = found["full", ""]
    made = []
    for (name, variant), setting in found.items():
        if name != "full" or variant == "blind":
            continue
        words = dict(word.split("=", 1) for word in variant.split(",")) if variant else {"kv": "full"}
        group = "prune" if "prune" in words else "kv"
        method = " ".join([words[group], *(f"{key}={words[key]}" for key in ("relevance",) if key in words)])
        row = {"group": group, "method": method, "keep": float(words.get(f"{group}.keep", 1))}
        row |= (
            setting.plain()
            | against(whole, setting)
            | {"ago": by_distance(setting), "kinds": by_kind(setting)}
        )
        row["cache_bytes"] = setting.cache_bytes
        recent = variant.replace(f"{group}={words[group]},", f"{group}=recent,", 1)
        if variant and ("full", recent) in found:
            row["against_recent"] = against(found["full", recent], setting)
        made.append(row)
    return sorted(made, key=lambda row: (row["group"], row["method"], -row["keep"]))


def by_distance(setting: Setting) -> dict[str, list[float]]:
    """(right, asked) of each stretch of time before the end."""
    counts: dict[str, list[float]] = {}
    for item in setting.items:
        count = counts.setdefault(setting.labels.get(item.key, {}).get("ago", ["not known"])[0], [0.0, 0])
        count[0] += item.score
        count[1] += 1
    return counts


def by_kind(setting: Setting) -> dict[str, float]:
    """The share of right answers to each kind of question."""
    return {kind: sum(setting.of(kind).accuracies) / len(setting.seeds) for kind in setting.kinds}


def answer(numbers: dict[str, Any], whole: dict[str, Any]) -> Answer:
    """Which method loses least at the smallest budget, among those that keep to it and forget anything before
    an answer."""
    parts, ends = [], []
    for group, what in (("kv", "policies that forget before they answer"), ("prune", "pruners")):
        asked = [row for row in numbers["rows"] if row["group"] == group and row["keep"] == KEEP[-1]]
        asked = [row for row in asked if row["method"] not in AT_QUESTION]
        rows = within_budget(asked)
        if rows:
            most = max(row["accuracy"] for row in rows)
            best = [row for row in rows if row["accuracy"] == most]
            *others, last = [row["method"] for row in best]
            names = f"{', '.join(others)} and {last}" if others else last
            of = f"{len(rows)} {what}"
            if len(rows) < len(asked):
                also = "and" if group == "kv" else "that"
                of = f"the {len(rows)} of {len(asked)} {what} {also} keep to the budget"
            parts.append(
                f"of {of} {names} {'lose' if len(best) > 1 else 'loses'} least at 1/{round(1 / KEEP[-1])} "
                f"({100 * best[0]['difference']:+.1f} points)"
            )
            ends += [
                f"{one['method']} {interval_text(one['difference_interval'], signed=True)}" for one in best
            ]
    text = "; ".join(parts) or "no budget was asked under"
    return Answer(text, "; ".join(ends) or interval_text(whole["interval"]))


def within_budget(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that leave as many bytes as `uniform` at the same budget, or up to a twentieth more.

    Some keep whole frames or chunks whatever the budget, so that at a small one they are no match for others.
    """
    even = next((row for row in rows if row["method"] == "uniform"), {})
    if "cache_bytes" not in even:
        return rows
    return [row for row in rows if row["cache_bytes"] <= 1.05 * even["cache_bytes"]]


def lines(numbers: dict[str, Any]) -> list[str]:
    """The README's table: a line a method, a column a budget, and what the smallest leaves of the cache."""
    least = f"1/{round(1 / KEEP[-1])}"
    heads = [f"1/{round(1 / keep)}" for keep in KEEP]
    rows = {(row["group"], row["method"], row["keep"]): row for row in numbers["rows"]}
    is_counted = all("cache_bytes" in row for row in numbers["rows"])  # recorded ones may be older
    heads += [f"cache at {least}, kB"] if is_counted else []
    text = [f"| method | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    whole = next(row for row in numbers["rows"] if row["keep"] == 1)
    cells = [points(whole["accuracy"], whole["interval"]), *[""] * (len(KEEP) - 1)]
    cells += [f"{whole['cache_bytes'] / 1000:.0f}"] if is_counted else []
    text.append(f"| `kv=full` (all kept) | {' | '.join(cells)} |")
    methods = dict.fromkeys((row["group"], row["method"]) for row in numbers["rows"] if row["keep"] < 1)
    for group, method in methods:
        own = [rows.get((group, method, float(f"{keep:g}"))) for keep in KEEP]
        cells = ["" if row is None else points(row["accuracy"], row["interval"]) for row in own]
        if is_counted:
            cells.append("" if own[-1] is None else f"{own[-1]['cache_bytes'] / 1000:.0f}")
        text.append(f"| `{group}={method}` | {' | '.join(cells)} |")
    return text + baseline_lines(numbers, columns=1 + len(heads), place=1)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Accuracy by share kept; policies on the left, pruners on the right, baselines dashed."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained", sharey=True)
    whole = next(row for row in numbers["rows"] if row["keep"] == 1)
    for axis, group in zip(axes, ("kv", "prune"), strict=True):
        rows = [row for row in numbers["rows"] if row["group"] == group and row["keep"] < 1]
        by_method = {row["method"]: [r for r in rows if r["method"] == row["method"]] for row in rows}
        axis.axhline(100 * whole["accuracy"], color="black", linewidth=1, label="all kept")
        # In the legend as they lie at the smallest budget.
        for number, own in enumerate(sorted(by_method.values(), key=lambda own: -own[-1]["accuracy"])):
            method = own[0]["method"]
            axis.plot(
                [row["keep"] for row in own],
                [100 * row["accuracy"] for row in own],
                color=plt.get_cmap("tab20")(number % 20),
                marker="os^vDP"[number % 6],
                markersize=9 - 4 * (number % 2),  # what lies on top of another shows
                linestyle="--" if method in BLIND_POLICIES else "-",
                linewidth=2 if method in BLIND_POLICIES else 1,
                label=method,
            )
        mark_baselines(axis, numbers)
        axis_of_shares(axis, KEEP, f"share of visual tokens kept by {group}=…")
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[0].set_ylabel("right answers, %")
    save_figure(figure, path)


STUDY = Study(
    here=Path(__file__).parent,
    question=__doc__ or "",
    members=members,
    needs="full",
    called="the whole cache",
    rows=rows,
    answer=answer,
    lines=lines,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(main(STUDY))
