"""Every recorded tensor is measured, within the tolerance, and listed in the table of README.md."""

import pytest
import torch

from tests.golden import DTYPES, FOLDER, TOLERANCE
from tests.golden.measure import MEASURED, WEIGHTS, golden, listed, measure, recorded


def test_every_file_with_results_is_measured() -> None:
    files = {
        f"{file.parent.name}/{file.stem}"
        for model in ("video_xl", "video_xl_2", "video_xl_pro")
        for file in (FOLDER / model).glob("*.safetensors")
    }
    assert {file for file in files if recorded(file)} == MEASURED.keys()


def test_the_table_lists_every_recorded_tensor() -> None:
    assert set(listed()) == {(file, name) for file in MEASURED for name in recorded(file)}
    for numbers in listed().values():
        for number, tolerance in zip(numbers, TOLERANCE.values(), strict=True):
            assert number == "identical" or 0 < float(number) <= tolerance


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("file", MEASURED)
def test_every_recorded_tensor_is_reached(file: str, dtype: torch.dtype) -> None:
    errors = measure(file, dtype)
    assert sorted(errors) == recorded(file)
    assert {name: value for name, value in errors.items() if not value <= TOLERANCE[dtype]} == {}
    column = list(TOLERANCE).index(dtype)
    told = {name: listed()[file, name][column] for name in errors}
    worse = {n: (x, told[n]) for n, x in errors.items() if told[n] != "identical" and x > 10 * float(told[n])}
    assert worse == {}, "the table is not of this code; python -m tests.golden.measure"


def test_weights_are_no_results() -> None:
    assert any(name.startswith(WEIGHTS) for name in golden("video_xl_2/vision"))
    assert recorded("video_xl_2/vision") == ["hidden"]
