"""What every policy promises, in a diagonal of all combinations; VXL_MATRIX=1 makes it all of them."""

import os

import pytest

from tests.kv.matrix import Case, cases, diagonal, run

CASES = list(cases()) if os.environ.get("VXL_MATRIX") else diagonal()


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case)))
def test_the_promises_hold_or_the_reason_is_said(case: Case) -> None:
    said = run(case)
    print(f"{' '.join(map(str, case)):60} {said}")
    assert said == "held" or len(said) > 20
