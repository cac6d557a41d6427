"""vxl's models and benchmarks inside lmms-eval: its plug-in, and tasks with the family's prompts."""

from typing import Any


def manifest() -> Any:
    """What lmms-eval finds by the entry point `lmms_eval.models`: `--model vxl`."""
    from lmms_eval.models.registry_v2 import ModelManifest  # late: lmms_eval, an optional package

    return ModelManifest(model_id="vxl", chat_class_path="vxl.lmms.model.VxlModel")
