"""The settings of a model's parts, as config.json has them."""

from collections.abc import Mapping
from typing import Any

from vxl.errors import ConfigError
from vxl.export.targets import TARGETS
from vxl.option.build import KNOWN
from vxl.option.rebuild import rebuild
from vxl.parts import ModelParts

KNOWN.update(TARGETS)


def read_parts(values: Mapping[str, Any] | None) -> ModelParts:
    """Typed settings out of plain ones.

    Raises:
        ConfigError: There are none, or a key is unknown, missing or of the wrong type.
    """
    if not values:
        raise ConfigError(
            "the config describes no model: `parts` is empty.\n"
            "  expected: config.json of a folder that  vxl export RUN FOLDER layout=transformers  wrote"
        )
    return rebuild(ModelParts, dict(values))
