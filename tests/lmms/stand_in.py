"""What vxl's plug-in uses of lmms-eval 0.7, for environments without it: the same names and calls.

Written after lmms_eval/api/model.py, api/instance.py and models/registry_v2.py, and the part of evaluator.py
that builds a model, hands it requests and reads what it returns.
"""

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from torch import nn


class Hook:
    """Its cache of answers, switched off."""

    def add_partial(self, attr: str, request: Any, result: Any) -> None:
        pass


class Base(ABC):
    """lmms_eval.api.model.lmms."""

    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.cache_hook = Hook()
        self.task_dict: dict[str, Any] = {}

    @abstractmethod
    def loglikelihood(self, requests: Any) -> Any: ...

    @abstractmethod
    def generate_until(self, requests: Any) -> Any: ...

    @abstractmethod
    def generate_until_multi_round(self, requests: Any) -> Any: ...

    @classmethod
    def create_from_arg_string(cls, arguments: str, more: dict[str, Any] | None = None) -> Any:
        pairs = [word.split("=", 1) for word in arguments.split(",")]
        given = {key: value for key, value in (more or {}).items() if value is not None}
        return cls(**{key: parsed(value) for key, value in pairs}, **given)

    def clean(self) -> None:
        for name in [name for name, value in vars(self).items() if isinstance(value, nn.Module)]:
            delattr(self, name)


def parsed(text: str) -> Any:
    """lmms_eval.utils.handle_arg_string."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.isnumeric():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


@dataclass
class TokenCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass
class GenerationResult:
    text: str
    token_counts: TokenCounts | None = None


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass
class Instance:
    args: tuple[Any, ...]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes it importable for one test."""
    for name, members in {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": Base},
        "lmms_eval.api.instance": {"GenerationResult": GenerationResult, "TokenCounts": TokenCounts},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
    }.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "vxl.lmms.model", raising=False)


def requests(
    model: Any,
    docs: Sequence[Any],
    doc_to_messages: Callable[[Any], Any],
    generation: dict[str, Any],
    task: str = "mine",
) -> list[Instance]:
    """The requests of a task's rows, as the evaluator makes them."""
    model.task_dict[task] = {"test": docs}
    return [
        Instance(("", doc_to_messages, copy.deepcopy(generation), number, task, "test"))
        for number in range(len(docs))
    ]
