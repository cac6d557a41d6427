"""Schemas without what computes: `without_torch` reads options while torch and its like stay away.

A part and its settings stand in one file, which imports torch; the settings alone need none of it, and torch
takes longer to import than all of vxl. So where options are only read (`vxl explain`), stand-ins answer for
these packages, as Sphinx's autodoc_mock_imports does: any name exists, a class derived from one derives from
nothing, a decorator leaves what it decorates.
"""

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence, Set
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from types import ModuleType
from typing import Any

from typing_extensions import override

from vxl.errors import VxlError
from vxl.imported import uncollected
from vxl.option.build import ALLOWED
from vxl.option.schema import meanings, schema_of

PACKAGES = {"torch", "numpy", "av", "PIL", "transformers", "safetensors", "lightning"}
READ = "torch.optim"
"""The part of torch whose signatures are schemas: its own files are read, above the stand-ins."""


class _Name:
    """Anything that a package may hold: has every attribute, can be called, indexed and derived from."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> "_Name":
        return _attribute(self._path, name)

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        decorated = arguments[0] if len(arguments) == 1 and callable(arguments[0]) else self
        return self if isinstance(decorated, _Name) else decorated

    def __getitem__(self, index: Any) -> "_Name":
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()

    def __or__(self, other: Any) -> Any:
        return other

    __ror__ = __or__

    def __enter__(self) -> "_Name":
        return self

    def __exit__(self, *_: object) -> None:
        """As of `with torch.no_grad():` at the top of a file."""

    @override
    def __repr__(self) -> str:
        return self._path


def _attribute(path: str, name: str) -> _Name:
    if name.startswith("__"):
        raise AttributeError(f"the stand-in of {path} has no {name}")
    return _Name(f"{path}.{name}")


class _Package(ModuleType):
    """A module of a package that is not imported."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return version(self.__name__.partition(".")[0])
        return _attribute(self.__name__, name)


class _Finder(MetaPathFinder, Loader):
    """Finds stand-ins before Python finds the packages."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = fullname.partition(".")[0]
        if package not in PACKAGES or f"{fullname}.".startswith(f"{READ}."):
            return None
        spec = ModuleSpec(fullname, self, is_package=True)
        if package == fullname:
            found = PathFinder.find_spec(package)
            if found is None:
                return None  # not installed: say so, as the import would
            spec.submodule_search_locations = list(found.submodule_search_locations or ())
        return spec

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    @override
    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed."""


def without_torch(read: Callable[[], str]) -> str:
    """What `read` gives, which only looks at options: above stand-ins, if that can be.

    Modules imported meanwhile are forgotten behind it. Where torch is there already, nothing is gained, and
    `read` sees the packages themselves; so it does, once more, where something wants the real ones (a plug-in
    that computes when it is imported).

    Raises:
        VxlError: What `read` raises.
    """
    if "torch" in sys.modules:
        return read()
    try:
        with _stand_ins():
            return read()
    except VxlError:
        raise
    except Exception:  # whatever a plug-in's code says of a torch that is none
        return read()


@contextlib.contextmanager
def _stand_ins() -> Generator[None]:
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    with uncollected():
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            _forget(sys.modules.keys() - before)


def _forget(names: Set[str]) -> None:
    """Forgets those of these modules that stand above stand-ins: of any package of which one holds some."""
    above = {name.partition(".")[0] for name in names if _holds_stand_ins(sys.modules[name])}
    above |= {prefix.partition(".")[0] for prefix in ALLOWED}
    for name in names:
        if name.partition(".")[0] in above:
            module = sys.modules.pop(name)
            parent, _, last = name.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(last) is module:
                delattr(sys.modules[parent], last)
    schema_of.cache_clear()
    meanings.cache_clear()


def _holds_stand_ins(module: ModuleType) -> bool:
    return any(isinstance(value, _Name | _Package) for value in (module, *vars(module).values()))
