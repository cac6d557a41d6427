import torch

from vxl.generate.sampling import Sampling, TokenChooser


def test_draws_have_the_right_frequencies() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3)
    drawn = TokenChooser(Sampling(temperature=1.0), 4000)(logits)
    assert torch.allclose(drawn.bincount(minlength=3) / 4000, torch.tensor([0.5, 0.3, 0.2]), atol=0.03)
    cut = TokenChooser(Sampling(temperature=1.0, top_p=0.7), 4000)(logits)
    assert torch.allclose(cut.bincount(minlength=3) / 4000, torch.tensor([0.625, 0.375, 0.0]), atol=0.03)


def test_probabilities_are_sharpened_by_the_temperature() -> None:
    """Scores of 0 and 1 at temperature 1/4: e^4 to 1, which is 98.2 % of 4,000 draws."""
    choose = TokenChooser(Sampling(temperature=0.25), rows=4000)
    drawn = choose(torch.tensor([[0.0, 1.0]]).expand(4000, 2))
    assert abs(drawn.float().mean().item() - 0.982) < 0.01
