import torch
import torch.nn.functional as F
from torch import nn

from vxl.llm.loss import loss_sum

PLACES, WIDTH, VOCAB = 50, 8, 300


def made(seed: int = 0) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(WIDTH, VOCAB, bias=False).double()
        hidden_SD = torch.randn(PLACES, WIDTH, dtype=torch.float64, requires_grad=True)
        return head, hidden_SD, torch.randint(VOCAB, (PLACES,))


def gradients(chunk: int) -> tuple[torch.Tensor, ...]:
    head, hidden_SD, labels_S = made()
    loss = loss_sum(head, hidden_SD, labels_S, chunk)
    (3 * loss).backward()
    assert hidden_SD.grad is not None
    assert head.weight.grad is not None
    return loss.detach(), hidden_SD.grad, head.weight.grad


def test_chunks_give_the_loss_and_the_gradients_of_the_whole():
    head, hidden_SD, labels_S = made()
    expected = F.cross_entropy(head(hidden_SD), labels_S, reduction="sum")
    whole = gradients(PLACES)
    torch.testing.assert_close(whole[0], expected.detach())
    for chunk in (1, 7, 25, 49):
        for ours, theirs in zip(gradients(chunk), whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_no_more_scores_exist_at_once_than_those_of_a_chunk():
    """Neither between forward and backward, nor at a time."""
    head, hidden_SD, labels_S = made()
    asked: list[int] = []
    kept: list[int] = []

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        asked.append(len(hidden))
        return head(hidden)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_sum(counted, hidden_SD, labels_S, 7)
    assert asked == [7] * 7 + [1]
    assert max(kept, default=0) < 7 * VOCAB  # the scores of no chunk wait for the backward pass
    loss.backward()
    assert sorted(asked) == sorted(2 * ([7] * 7 + [1]))


def test_nothing_supervised_still_has_a_gradient():
    head, hidden_SD, labels_S = made()
    loss = loss_sum(head, hidden_SD[:0], labels_S[:0], 4)
    loss.backward()
    assert loss == 0
    assert head.weight.grad is not None
    assert not head.weight.grad.any()


def test_scores_of_bfloat16_are_summed_in_float32():
    head, hidden_SD, labels_S = made()
    logits_SV = head(hidden_SD).detach().bfloat16()
    loss = loss_sum(lambda hidden: hidden, logits_SV, labels_S, 7)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits_SV.float(), labels_S, reduction="sum"))
