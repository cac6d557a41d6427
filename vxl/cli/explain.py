"""`vxl explain`: prints what vxl.config.catalog finds."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from vxl.config.catalog import Key, OptionFile, keys_of, look_up, options_by_group, run_schemas, schema_keys
from vxl.option.files import CONF
from vxl.option.plugins import load_plugins
from vxl.option.rebuild import INTERNAL
from vxl.table import Listing
from vxl.terminal.screen import Screen


def explain(
    words: Sequence[str],
    plugins: Sequence[str] = (),
    *,
    root: type | None = None,
    console: Console | None = None,
) -> None:
    """Prints the keys behind each word, or all groups and options where there is none.

    Args:
        words: `GROUP=NAME`, `GROUP`, a key; or `cost` and the words of a training.
        plugins: Packages whose options are listed too.
        root: Dataclass of the whole config; that of training where none is given.
        console: Where to print.

    Raises:
        ConfigError: A word names nothing; the message lists the nearest.
    """
    console = console or Screen()
    if words[:1] == ["cost"]:
        from vxl.cli.explain_cost import explain_cost  # late: torch, and the other words need none

        explain_cost(words[1:], plugins, console)
        return
    roots = [] if root is None else [root]
    folders = [CONF, *load_plugins(plugins)]
    if not words:
        _overview(folders, console)
        console.print("\nkeys of the run", style="bold")
        _keys(
            [
                key
                for key in schema_keys((roots or run_schemas())[0])
                if "." not in key.name and key.name not in INTERNAL
            ],
            console,
        )
        console.print("\nmore:  vxl explain GROUP   vxl explain GROUP=NAME   vxl explain KEY")
        console.print("       vxl explain cost model=NAME stage=NAME devices=8")
    for word in words:
        kind, matches = look_up(word, folders, roots)
        if kind == "option":
            _option(matches, (roots or run_schemas())[0], console)
        elif kind == "group":
            _group(word, matches, roots, console)
        else:
            _keys(matches, console)


def _overview(folders: list[Path], console: Console) -> None:
    table = Listing("", ("option", "what it is"), words=("what it is",))
    for options in options_by_group(folders).values():
        for choice in options.values():
            table.add(f"{choice.group}={choice.name}", escape(choice.meaning))
        table.end_section()
    table.show(console)


def _group(group: str, options: dict[str, OptionFile], roots: Sequence[type], console: Console) -> None:
    table = Listing("", ("option", "what it is"), words=("what it is",))
    for name, choice in options.items():
        table.add(f"{group}={name}", escape(choice.meaning))
    table.show(console)
    plain = [
        choice for choice in options.values() if not choice.is_global and "_target_" not in choice.values
    ]
    if plain and len(plain) == len(options):  # one schema types them all (trainer, checkpoint, …)
        first = next((choice for choice in plain if choice.name == "default"), plain[0])
        console.print(f"keys of {group}={first.name}", style="bold", highlight=False)
        _keys(keys_of(first, (roots or run_schemas())[0]), console)
    else:
        console.print(f"keys of one:  vxl explain {group}={next(iter(options))}")


def _option(choice: OptionFile, root: type, console: Console) -> None:
    console.print(f"[bold]{choice.group}={choice.name}[/]  {escape(choice.meaning)}", highlight=False)
    for note in choice.notes:
        console.print(Padding(escape(note), (0, 0, 0, 2)), highlight=False)
    if choice.command:
        console.print(f"  {choice.command}", markup=False, highlight=False)
    target = choice.values.get("_target_")
    if target:
        console.print(f"  code: {target}", highlight=False)
    if choice.overrides:
        console.print(f"  chooses: {' '.join(choice.overrides)}", markup=False, highlight=False)
    keys = keys_of(choice, root)
    if keys:
        _keys(keys, console)


def _keys(keys: list[Key], console: Console) -> None:
    """Each key with its default and type, and what it means below: prose needs the width."""
    for key in keys:
        head = f"[bold cyan]{escape(key.name)}[/] = {escape(key.default)}"
        console.print(
            f"{head}  [dim]{escape(key.type)}[/]", highlight=False, soft_wrap=not console.is_terminal
        )
        if key.meaning:
            console.print(Padding(escape(key.meaning), (0, 0, 0, 4)), highlight=False)
