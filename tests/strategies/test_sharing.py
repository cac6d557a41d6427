"""Rows that processes share (`strategy.context`) are those of one: losses, scores, gradients, whole runs."""

from typing import Any

import pytest
import torch

from tests.strategies import cases, sharing

CLOSE = 1e-9
# Strategy, processes, how many share rows; then the same of the run that goes on.
DEGREES = [
    (("single", 1, 1), ("ddp", 2, 2)),
    (("ddp", 2, 2), ("fsdp2", 4, 4)),
    (("fsdp2", 4, 4), ("single", 1, 1)),
    (("hsdp", 4, 2), ("fsdp2_grad", 2, 2)),
    (("fsdp2", 4, 2), ("ddp", 4, 1)),
]


@pytest.fixture(scope="module")
def alone(pool) -> list[dict[str, Any]]:
    return pool.run(1, sharing.passes, 1)[0]


@pytest.fixture(scope="module")
def whole(pool, tmp_path_factory) -> dict[str, Any]:
    """Eight steps of one process, on rows of every kind."""
    folder = str(tmp_path_factory.mktemp("alone"))
    return pool.run(1, cases.train, folder, {"name": "whole", "trainer": {"max_steps": 8}}, True)[0]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_pass_is_that_of_one_process(pool, alone, ranks):
    shared = pool.run(ranks, sharing.passes, ranks)
    asked = [len(one["numbers"]["scores"]) for one in alone]
    assert sum(asked) == 6  # three questions of two cases
    for case, one, *others in zip(sharing.CASES, alone, *shared, strict=True):
        for found in others:
            assert found["counts"] == one["counts"], case
            for name, value in one["numbers"].items():
                torch.testing.assert_close(found["numbers"][name], value, rtol=CLOSE, atol=CLOSE)
            for name, gradient in one["gradients"].items():
                wanted = torch.zeros_like(found["gradients"][name]) if gradient is None else gradient
                error = (found["gradients"][name] - wanted).norm()
                assert error <= CLOSE * wanted.norm().clamp(min=1e-3), (case, name, float(error))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pruned", "selected"])
def test_all_processes_keep_the_tokens_that_the_first_one_does(pool, model):
    """One that kept others would have a sequence of another length."""
    (one,), (shared, other) = (pool.run(n, sharing.tipped, model, "several videos", n) for n in (1, 2))
    for name, value in one.items():
        for found in (shared, other):
            torch.testing.assert_close(found[name], value, rtol=CLOSE, atol=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "rows"), [("recomputed", "packed"), ("chunked", "one video")])
def test_in_bfloat16_a_pass_is_as_near_to_the_exact_one_as_that_of_one_process(pool, model, rows):
    """Parts of a gradient are rounded before they are summed: that must not add up."""
    (exact,) = pool.run(1, sharing.rounded, model, rows, 1, torch.float64)
    (one,) = pool.run(1, sharing.rounded, model, rows, 1, torch.bfloat16)
    shared, _ = pool.run(2, sharing.rounded, model, rows, 2, torch.bfloat16)

    def error(found: dict[str, torch.Tensor]) -> float:
        """The mean over the parameters, each relative to its gradient."""
        errors = [(found[n] - value).norm() / value.norm().clamp(min=1e-3) for n, value in exact.items()]
        return float(torch.stack(errors).mean())

    assert 1e-3 < error(one) < 0.05  # it was rounded
    assert error(shared) < 1.2 * error(one)


@pytest.mark.slow
@pytest.mark.parametrize(("saves", "resumes"), DEGREES)
def test_a_run_goes_on_under_another_degree(pool, whole, tmp_path, saves, resumes):
    """A long video, a short one, an image and text alone; from the same row, with the same numbers."""
    runs = []
    for (strategy, ranks, context), steps in ((saves, 4), (resumes, 8)):
        run = {"name": "run", "strategy": strategy, "ranks": ranks, "context": context}
        run["trainer"] = {"max_steps": steps}
        runs.append(pool.run(ranks, cases.train, str(tmp_path), run, True)[0])
    found = cases.difference(runs[-1], whole)
    assert max(found.values()) < 1e-6, found


@pytest.mark.slow
def test_each_process_keeps_a_share_of_the_activations_as_is_said_beforehand(pool):
    ((whole, said),) = pool.run(1, sharing.held, 1)
    for kept, foretold in pool.run(4, sharing.held, 4):
        assert kept < 0.35 * whole  # keys, values and the row's embeddings are all there
        assert foretold / said == pytest.approx(kept / whole, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("ranks", "context"), [(4, 2), (2, 2)])
def test_a_group_is_of_neighbours_and_apart_from_that_of_the_run(pool, ranks, context, dtype):
    """Also where all processes share the rows: what FSDP and DDP send meanwhile must not stand in its way."""
    found = pool.run(ranks, sharing.groups, context, dtype)
    for rank, one in enumerate(found):
        first = rank // context * context
        assert one["members"] == [first, first + 1]
        assert one["place"] == (rank - first, context)
        assert not one["of the run"]
        parts = torch.tensor([[[1.0, 2.0]], [[2.0, 4.0]]]) + first * torch.tensor([1.0, 2.0])
        assert one["parts"].dtype == one["gradient"].dtype == one["sum"].dtype == dtype
        torch.testing.assert_close(one["parts"], parts.to(dtype))
        torch.testing.assert_close(one["sum"], parts.sum(0).to(dtype))
        place = 2 * (rank - first)  # the part's first number, of those that both of them weigh
        torch.testing.assert_close(
            one["gradient"], torch.tensor([[2 * place + 16.0, 2 * place + 18.0]], dtype=dtype)
        )
        assert one["left alone"]
