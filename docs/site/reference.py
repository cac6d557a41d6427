"""The site's reference: the options of every group from their configs, the commands from their parsers."""

import argparse
import html
import importlib.util
import re
from collections.abc import Iterator, Sequence

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from vxl.cli.main import parser
from vxl.config.catalog import Key, OptionFile, keys_of, options_by_group, schema_keys
from vxl.config.schema import root_schema, schemas
from vxl.option.rebuild import INTERNAL

COMMANDS = "docs/reference/commands.md"
OPTIONS = "docs/reference/options"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages, and their places in the navigation."""
    groups = options_by_group()
    pages = {
        COMMANDS: commands(),
        f"{OPTIONS}/run.md": run_keys(),
        **{f"{OPTIONS}/{group}.md": group_page(group, options) for group, options in groups.items()},
    }
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    assert config.nav is not None
    (reference,) = (entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference += [
        {"Commands": COMMANDS},
        {
            "Options": [
                {"Keys of a run": f"{OPTIONS}/run.md"},
                *({f"{group}=": f"{OPTIONS}/{group}.md"} for group in groups),
            ]
        },
    ]
    return files


def group_page(group: str, options: dict[str, OptionFile]) -> str:
    """A group: what it is, a table of its options, then each with its keys."""
    root = root_schema("train")
    lines = [f"# {group}=", "", about(group), ""]
    lines += ["| option | |", "|---|---|"]
    lines += [
        f"| [`{group}={name}`](#{group}-{name}) | {cell(each.meaning)} |" for name, each in options.items()
    ]
    for name, each in options.items():
        lines += ["", f"## `{group}={name}` {{ #{group}-{name} }}", "", prose(each.meaning), ""]
        lines += [f"{prose(note)}\n" for note in each.notes]
        if each.command:
            lines += ["```text", each.command, "```", ""]
        if each.overrides:
            lines += [f"Chooses {', '.join(f'`{word}`' for word in each.overrides)}.", ""]
        if target := each.values.get("_target_"):
            lines += [f"Code: `{target}`", ""]
        lines += table(keys_of(each, root))
    return "\n".join(lines) + "\n"


def run_keys() -> str:
    """The keys that a training and an evaluation have beside those of their parts."""
    lines = ["# Keys of a run", "", "As `vxl explain KEY` shows them."]
    for title, schema in zip(("vxl train", "vxl evaluate"), schemas(), strict=True):
        keys = [key for key in schema_keys(schema) if "." not in key.name and key.name not in INTERNAL]
        lines += ["", f"## {title}", "", *table(keys)]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """What `--help` of each command says."""
    lines = ["# Commands", "", "What `vxl --help` and `vxl COMMAND --help` print.", ""]
    lines += ["```text", parser(None).format_help().strip(), "```"]
    for name in subparsers(parser(None)):
        for path, made in with_nested(name):
            if made.add_help:
                lines += ["", f"## {path}", "", "```text", made.format_help().strip(), "```"]
    return "\n".join(lines) + "\n"


def with_nested(name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command's parser, and those of the commands below it."""
    made = subparsers(parser(name))[name]
    yield f"vxl {name}", made
    for inner, below in subparsers(made).items():
        yield f"vxl {name} {inner}", below


def subparsers(made: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser."""
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def about(group: str) -> str:
    """What the package of a group says that it is, where there is one."""
    if importlib.util.find_spec(f"vxl.{group}") is None:
        return ""
    text = importlib.import_module(f"vxl.{group}").__doc__ or ""
    return prose(text.partition("\n\n")[0])


def table(keys: Sequence[Key]) -> list[str]:
    """Keys with their defaults, types and meanings."""
    if not keys:
        return []
    rows = [f"| {code(key)}<br>{cell(key.type)} | {cell(key.meaning)} |" for key in keys]
    return ["| key, default, type | meaning |", "|---|---|", *rows]


def code(key: Key) -> str:
    """A key with its default, as one types it."""
    text = html.escape(f"{key.name}={key.default}").replace("|", "&#124;")
    return f"<code>{text}</code>"


def cell(text: str) -> str:
    """Prose in a cell of a table."""
    return prose(text).replace("|", "&#124;")


def prose(text: str) -> str:
    """Words of a comment or docstring, in which `<` and `*` outside of code mean themselves."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else plain(part) for part in parts)


def plain(text: str) -> str:
    """Words that are no code, as Markdown that shows them."""
    return re.sub(r"([*_\[\]])", r"\\\1", html.escape(text, quote=False))
