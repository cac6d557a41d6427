import importlib.util

import pytest
import torch

from tests.llm.tiny import decoder, plain, tokens
from vxl.errors import ConfigError
from vxl.llm.attention.backends import flash
from vxl.llm.attention.step import Span, runs


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_an_absent_package_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'vxl\[flash\]'  or  llm.attention=sdpa"):
        decoder(attention="flash")


def test_varlen_off_cuda_says_what_to_use() -> None:
    with pytest.raises(ConfigError, match=r"runs on CUDA only.*\n.*\n.*llm.attention=sdpa"):
        plain(decoder(attention="varlen"), tokens(1, 8))


def test_flash_kernels_in_full_precision_say_what_to_use() -> None:
    query = torch.zeros(1, 2, 3, 8)
    with pytest.raises(ConfigError, match=r"flash computes in bfloat16 and float16 only; this is torch.fl"):
        flash(query, query, query, None, decoder().step(torch.arange(3)[None]))


def test_flex_has_no_backward_on_the_cpu() -> None:
    llm = decoder(attention="flex")
    with torch.no_grad():
        plain(llm, tokens(1, 8))
    with pytest.raises(ConfigError, match="no backward on cpu"):
        plain(llm, tokens(1, 8))


def test_runs_cover_every_column_once() -> None:
    spans = (Span(0, 0, 3), Span(0, 5, 9), Span(1, 2, 4))
    found = runs(spans, 3, 10)
    columns = sorted((span.row, column) for span, _ in found for column in range(span.start, span.stop))
    assert columns == [(row, column) for row in range(3) for column in range(10)]
    assert [span for span, real in found if real] == list(spans)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backend", ["sdpa", "flex", "varlen"])
@pytest.mark.parametrize("packed", [False, True])
def test_backends_agree_on_cuda(backend: str, packed: bool) -> None:
    ids = tokens(2, 300)
    document = torch.zeros(2, 300, dtype=torch.int32)
    document[0, 200:] = 1 if packed else -1
    document[0, 290:] = -1
    outputs, gradients = [], []
    for name, device, dtype in (("sdpa", "cpu", torch.float32), (backend, "cuda", torch.bfloat16)):
        llm = decoder(attention=name, width=256, heads=4, kv_heads=2).to(device, dtype)
        logits = plain(
            llm,
            ids.to(device),
            document_BT=document.to(device),
            positions_BT=torch.arange(300, device=device).expand(2, -1),
        )
        logits = logits[(document >= 0).to(device)].float()
        (logits**2).mean().backward()
        outputs.append(logits.detach().cpu())
        gradients.append(llm.causal_lm.model.layers[0].self_attn.k_proj.weight.grad.float().cpu())
    for got, expected in ((outputs[1], outputs[0]), (gradients[1], gradients[0])):
        assert (got - expected).norm() < 0.05 * expected.norm()
