"""Which parts of a model an evaluation may exchange: those that no training has gone into."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vxl.errors import ConfigError
from vxl.option.files import CONF, option_files
from vxl.option.read_yaml import read_yaml
from vxl.terminal.say import complain

CHANGEABLE = ("video", "prune", "prefill", "kv", "relevance", "selector")
"""Groups whose options and keys may be changed at evaluation."""
RUNNING = ("llm.attention", "llm.extrapolate", "llm.fp8", "vision.fp8")
"""Keys of trained parts that say how they run; the model is loaded anew for them."""
TRAINED = {
    "vision": "the compressor learned on the features of this tower",
    "compressor": "it was trained: another ratio is another model",
    "llm": "the language model's weights are those of its training",
    "prompt": "the model was trained with this wording of turns; questions are worded by benchmark.prompt",
}
GROUPS = (*CHANGEABLE, *TRAINED)
POLICY_BUDGETS = (1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Shares of the visual tokens that `sweep=policies` compares; what is protected stays beside them."""
SUMMARIZING = ("vst", "x2l")
"""Policies whose summary tokens are trained."""
BUDGETS = ("keep", "tokens", "mib", "layers", "groups", "chunks")
"""Keys of which a policy has one: how much of what was watched stays."""
BASELINES = ("recent", "uniform", "random")
"""Policies that look at nothing: what another is worth is what it adds to them."""


def is_change(word: str) -> bool:
    """Whether a word of the command line changes a part of the evaluated model."""
    key, equals, _ = word.lstrip("+").partition("=")
    return bool(equals) and key.partition(".")[0] in GROUPS


def say_refused(member: str, error: ConfigError) -> str:
    """Says of a member that it can't be built, before the others take hours; returns that in short."""
    complain(f"{member} is refused: {error}")
    return str(error).splitlines()[0]


def refuse_trained(changes: Sequence[str], values: Mapping[str, Any]) -> None:
    """Refuses changes of what was trained in, with the reason.

    Args:
        changes: As on the command line.
        values: The evaluated model's resolved config.

    Raises:
        ConfigError: All that are refused, at once.
    """
    problems = []
    for change in changes:
        key, _, value = change.partition("=")
        group = key.partition(".")[0]
        reason = None
        if group in TRAINED and key not in RUNNING:
            reason = TRAINED[group]
        elif group == "kv" and (_summarizes(values) or value in SUMMARIZING):
            reason = (
                "summary tokens (kv=vst, kv=x2l) were trained with the model: only one that was trained so "
                "has them, and it has nothing else to look at"
            )
        elif change.startswith("selector=") and not _same_class(values, value):
            reason = "the selector's weights were trained; its budgets may be changed: selector.keep, .tokens"
        if reason is not None:
            problems.append(
                f"{change} can't be changed at evaluation: {reason}.\n"
                f"  train it:  python train.py init_from=RUN {change}\n"
                f"  may be changed: {', '.join((*CHANGEABLE, *RUNNING))}, precision"
            )
    if problems:
        raise ConfigError("\n\n".join(problems))


def expand_changes(changes: Sequence[str]) -> list[tuple[str, ...]]:
    """One tuple of changes a member: `kv.keep=0.5,0.25` makes two, several lists are crossed.

    Beside several options of a group a key goes to those that have it: `kv=full,snapkv kv.keep=0.5` are
    `kv=full` and `kv=snapkv kv.keep=0.5`. A budget of another kind than the option's own replaces it:
    `kv.tokens=64` sets `kv.keep=null`.
    """
    choices, crossed = [], set()
    for change in changes:
        key, _, value = change.lstrip("+").partition("=")
        parts = re.split(r",(?![^\[]*\])", value)
        choices.append([f"{key}={part}" for part in parts])
        if len(parts) > 1 and "." not in key:
            crossed.add(key)
    members: dict[tuple[str, ...], None] = {}  # an ordered set: kv=full is there once, however many budgets
    for member in itertools.product(*choices):
        several = [word for word in member if word.partition("=")[0] in crossed]
        words = fitting(several, sorted(member, key=lambda word: "." in word.partition("=")[0]))
        members[one_budget(tuple(words))] = None
    return list(members)


def one_budget(changes: tuple[str, ...]) -> tuple[str, ...]:
    """Adds `kv.keep=null` where another budget is given, and the like: a policy has one."""
    budget_keys = [name for name in BUDGETS if any(word.startswith(f"kv.{name}=") for word in changes)]
    if len(budget_keys) != 1 or any(f"kv.{budget_keys[0]}=null" == word for word in changes):
        return changes
    file = next((option_files("kv").get(word[3:]) for word in changes if word.startswith("kv=")), None)
    if file is None:
        return changes
    has = read_yaml(file.read_text()) or {}
    nulls = [f"kv.{name}=null" for name in BUDGETS if name != budget_keys[0] and has.get(name) is not None]
    return (
        *(word for word in changes if "." not in word.partition("=")[0]),
        *nulls,
        *(word for word in changes if "." in word.partition("=")[0]),
    )


def sweep(name: str, values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The members of a named sweep of an evaluation.

    Args:
        name: policies, frames or prefill.
        values: The evaluated model's resolved config.

    Raises:
        ConfigError: There is no such sweep.
    """
    if name == "policies":
        return _policies()
    if name == "frames":
        most = int((values.get("video") or {}).get("max_frames") or 128)
        counts = sorted({max(4, most // part) for part in (8, 4, 2, 1)} | {2 * most})
        return [(f"video.max_frames={count}",) for count in counts]
    if name == "prefill":
        return [("prefill=full",), ("prefill=chunked",), ("prefill=chunked", "prefill.time_rows=window")]
    raise ConfigError(
        f"sweep={name} does not exist for evaluate.py.\n  sweeps: policies, frames, prefill\n"
        "  or type the values:  kv=snapkv kv.keep=0.5,0.25"
    )


def changed_member(member: tuple[str, ...], typed: Sequence[str]) -> tuple[str, ...]:
    """A member of a sweep with what was typed beside it, which takes the place of the sweep's own value.

    Example:
        >>> changed_member(("kv=snapkv", "kv.of=visual", "kv.keep=0.5"), ["kv.of=all"])
        ('kv=snapkv', 'kv.keep=0.5', 'kv.of=all')
        >>> changed_member(("kv=snapkv", "kv.of=visual", "kv.keep=0.5"), ["kv.mib=64"])
        ('kv=snapkv', 'kv.keep=null', 'kv.mib=64')
    """
    given = {word.partition("=")[0] for word in typed}
    budgets = {f"kv.{name}" for name in BUDGETS}
    if given & budgets:  # shares of what, too, is a matter of the budget
        given |= {*budgets, "kv.of"}
    return one_budget((*(word for word in member if word.partition("=")[0] not in given), *typed))


def fitting(member: Sequence[str], words: Sequence[str]) -> list[str]:
    """The words for one member among several, without keys that only other options have.

    Beside `kv=full`, `kv.of=visual` is left out.
    """
    lacking = set()
    for word in member:
        group, _, option = word.partition("=")
        files = {} if "." in group else option_files(group)
        if option in files:
            keys = {name: set(read_yaml(file.read_text()) or {}) for name, file in files.items()}
            # A key of no option at all stays, to be refused.
            lacking |= {f"{group}.{key}" for key in set().union(*keys.values()) - keys[option]}
    return [word for word in words if word.partition("=")[0] not in lacking]


def label(changes: Sequence[str]) -> str:
    """How a member's folder is called: `kv=snapkv,kv.keep=0.25`."""
    words = [word for word in changes if not word.endswith("=null")]
    return re.sub(r"[\s'\"\[\]{}]", "", ",".join(words)).replace("/", "_")


def shown(name: str) -> str:
    """A label as tables show it: `kv=snapkv keep=0.25`.

    Keys that end alike, and those of trained parts, are shown whole.
    """
    first, *others = name.split(",")
    ends = [word.partition("=")[0].rpartition(".")[2] for word in (first, *others)]
    words = [first]
    for word, end in zip(others, ends[1:], strict=True):
        key = word.partition("=")[0]
        plain = key.partition(".")[0] in CHANGEABLE and ends.count(end) == 1
        words.append(word.removeprefix(key.removesuffix(end)) if plain else word)
    return " ".join(words)


def shared_words(labels: Sequence[str]) -> list[str]:
    """The settings behind the option that all members have, or all whose option has the key, if it is no
    budget.

    Example:
        >>> shared_words(["kv=full", "kv=recent,kv.of=visual,kv.keep=0.5"])
        ['kv.of=visual']
    """
    members = [label.split(",") for label in labels] if len(labels) > 1 else []
    budgets, options = {f"kv.{name}" for name in BUDGETS}, {words[0] for words in members}
    shared = []
    for word in dict.fromkeys(word for words in members for word in words[1:]):
        lacking = {option for option in options if not fitting([option], [word])}
        if word.partition("=")[0] in budgets:
            lacking = set()
        if all(word in words[1:] or words[0] in lacking for words in members):
            shared.append(word)
    return shared


def _policies() -> list[tuple[str, ...]]:
    """Every policy that needs no training, at each budget where it has one; the baselines first."""
    members: list[tuple[str, ...]] = [("kv=full",)]
    names = {file.stem for file in (CONF / "kv").glob("*.yaml")} - {"full", *SUMMARIZING, *BASELINES}
    for name in (*BASELINES, *sorted(names)):
        keys = read_yaml((CONF / "kv" / f"{name}.yaml").read_text()) or {}
        if "keep" in keys:
            of = ("kv.of=visual",) if "of" in keys else ()
            members += [one_budget((f"kv={name}", *of, f"kv.keep={keep:g}")) for keep in POLICY_BUDGETS]
        else:
            members.append((f"kv={name}",))
    return members


def _summarizes(values: Mapping[str, Any]) -> bool:
    return str((values.get("kv") or {}).get("_target_", "")).endswith((".VST", ".X2L"))


def _same_class(values: Mapping[str, Any], option: str) -> bool:
    file = Path(CONF) / "selector" / f"{option}.yaml"
    has = str((values.get("selector") or {}).get("_target_", "vxl.selector.none.KeepAll"))
    target = (read_yaml(file.read_text()) or {}).get("_target_") if file.is_file() else None
    return target in (has, None) or option == "none"
