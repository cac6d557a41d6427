import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.prefill.ranks import ROWS, gradients, made, row

pytestmark = pytest.mark.slow


def test_ranks_with_different_numbers_of_windows_are_one_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.prefill.ranks", str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(rank), str(len(ROWS))], stderr=subprocess.PIPE, text=True)
        for rank in range(len(ROWS))
    ]
    try:
        for process in processes:
            assert process.wait(timeout=240) == 0, process.communicate()[1]
    finally:
        for process in processes:
            process.kill()
    vlm = made()
    for number in range(len(ROWS)):
        vlm(row(number)).loss_sum.backward()
    expected, found = gradients(vlm), torch.load(tmp_path / "gradients.pt")
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-8, msg=name)
