"""Which option a resolved config holds is known by its class, and by its values where several share one."""

from typing import Any

import pytest

from vxl.option.chosen import chosen_option
from vxl.option.files import option_files
from vxl.option.read_yaml import read_yaml

GROUPS = ("video", "vision", "compressor", "prune", "llm", "prefill", "kv", "relevance", "strategy", "data")


def files() -> list[tuple[str, str, dict[str, Any]]]:
    read = [(g, name, read_yaml(file.read_text())) for g in GROUPS for name, file in option_files(g).items()]
    return [(group, name, values) for group, name, values in read if "_target_" in values]


@pytest.mark.parametrize(("group", "name", "values"), files())
def test_an_option_is_found_by_what_its_file_sets(group: str, name: str, values: dict[str, Any]) -> None:
    found = chosen_option(group, values | {"a_key_more": 1})
    assert found == name or read_yaml(option_files(group)[found].read_text()) == values


def test_a_changed_key_hides_no_option() -> None:
    values = read_yaml(option_files("llm")["qwen2_5_7b"].read_text())
    assert chosen_option("llm", values | {"lora": {"rank": 16}, "weights": "other"}) == "qwen2_5_7b"


def test_of_a_class_without_a_file_it_is_the_module() -> None:
    assert chosen_option("kv", {"_target_": "mylab.kv.recent.Recent"}) == "recent"
