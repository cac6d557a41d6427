"""The same weights with other parts around them."""

import pytest

from tests.small_model import frames, head, model, settings, video
from vxl.compressor.dts import DTSConfig
from vxl.errors import ConfigError
from vxl.evaluate.work.variants import variant, watch_key
from vxl.generate import watch
from vxl.generate.loaded import LoadedModel
from vxl.option.rebuild import plain


def loaded() -> LoadedModel:
    parts = settings(compressor=DTSConfig(ratio=16))
    return LoadedModel(model(compressor=DTSConfig(ratio=16)), None, parts, plain(parts))


def test_a_pruner_may_be_changed_and_is_part_of_what_is_watched() -> None:
    own = loaded()
    pruned = variant(own, ["prune=uniform", "prune.keep=0.25"])
    contexts = [watch(m, head(video(8)), [frames(32)]) for m in (own.model, pruned.model)]
    assert [context.visual_tokens for context in contexts] == [32, 8]
    assert watch_key(own) != watch_key(pruned)
    assert own.model.pruner is not pruned.model.pruner  # the model that was given stays as it is


def test_a_window_is_part_of_what_is_watched_and_goes_with_full_prefill() -> None:
    own = loaded()
    retrieved, windowed = (variant(own, ["kv=rekv", f"kv.local={n}"]) for n in ("null", 8))
    assert watch_key(own) == watch_key(retrieved) != watch_key(windowed)
    with pytest.raises(ConfigError, match=r"prefill=chunked and kv=rekv kv\.local=8 both say"):
        variant(own, ["kv=rekv", "kv.local=8", "prefill=chunked"])


def test_a_pruner_beside_a_selector_is_refused() -> None:
    with pytest.raises(ConfigError, match="prune=evs selector=none"):
        variant(loaded(), ["selector=query", "prune=evs"])
