"""`vxl explain`: prints what vxl.config.catalog finds."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from vxl.config.catalog import Key, OptionFile, keys_of, look_up, options_by_group, schema_keys
from vxl.config.schema import schemas
from vxl.option.files import CONF
from vxl.option.plugins import load_plugins
from vxl.option.rebuild import INTERNAL
from vxl.option.stand_ins import without_torch
from vxl.table import Listing
from vxl.terminal.say import typed_here
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

    def shown() -> str:
        with console.capture() as screen:
            _show(words, plugins, [] if root is None else [root], console)
        return screen.get()

    console.file.write(without_torch(shown))
    console.file.flush()


def _show(words: Sequence[str], plugins: Sequence[str], roots: list[type], console: Console) -> None:
    folders = [CONF, *load_plugins(plugins)]
    if not words:
        _overview(folders, console)
        console.print("\nkeys of the run", style="bold")
        _keys(
            [
                key
                for key in schema_keys((roots or schemas())[0])
                if "." not in key.name and key.name not in INTERNAL
            ],
            console,
        )
        console.print("\nmore:  vxl explain GROUP   vxl explain GROUP=NAME   vxl explain KEY")
        console.print("       vxl explain cost model=NAME stage=NAME devices=8")
    for word in words:
        kind, matches = look_up(word, folders, roots)
        if kind == "option":
            _option(matches, (roots or schemas())[0], console)
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
        _keys(keys_of(first, (roots or schemas())[0]), console)
    else:
        console.print(f"keys of one:  vxl explain {group}={next(iter(options))}")


def _option(choice: OptionFile, root: type, console: Console) -> None:
    _head(f"[bold]{choice.group}={choice.name}[/]", choice.meaning, 2, console)
    for note in choice.notes:
        _indented(note, 2, console)
    if choice.command:
        console.print(f"  {typed_here(choice.command)}", markup=False, highlight=False, soft_wrap=True)
    target = choice.values.get("_target_")
    if target:
        console.print(f"  code: {target}", highlight=False)
    if choice.overrides:
        console.print(f"  chooses: {' '.join(choice.overrides)}", markup=False, highlight=False)
    keys = keys_of(choice, root)
    if keys:
        _keys(keys, console)


def _keys(keys: list[Key], console: Console) -> None:
    """Each key with its default and type, and what it means below: prose needs the width.

    A key that is the same in several options stands there once, with their names.
    """
    alike: dict[tuple[str, ...], list[Key]] = {}
    for key in keys:
        alike.setdefault((key.name.rpartition(" ")[2], key.type, key.default, key.meaning), []).append(key)
    for key, *others in alike.values():
        head = f"[bold cyan]{escape(key.name)}[/] = {escape(key.default)}"
        _head(head, key.type, 4, console, style="dim")
        if others:
            names = (other.name.partition(" ")[0].partition("=")[2] for other in others)
            _indented(f"The same in {', '.join(names)}.", 4, console)
        if key.meaning:
            _indented(key.meaning, 4, console)


def _head(head: str, beside: str, by: int, console: Console, style: str = "") -> None:
    """A name with what is said beside it; below it, indented, where a terminal is too narrow for both."""
    line = Text.assemble(Text.from_markup(head), "  ", Text(beside, style=style))
    if console.is_terminal and line.cell_len > console.width:
        console.print(head, highlight=False, soft_wrap=True)
        console.print(Padding(Text(beside, style=style), (0, 0, 0, by), expand=False), highlight=False)
    else:
        console.print(line, soft_wrap=True)


def _indented(text: str, by: int, console: Console) -> None:
    console.print(Padding(escape(text), (0, 0, 0, by), expand=False), highlight=False)
