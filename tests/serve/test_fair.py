import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxl.serve.fair import FairQueue


def taken(queue: FairQueue[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_owners_take_turns_and_each_keeps_its_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.add([item[0]], item)
    assert taken(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_more_names_are_no_more_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for user in "xyz":
        queue.add(["greedy", user], f"greedy-{user}")
    queue.add(["other", ""], "other-1")
    queue.add(["other", ""], "other-2")
    assert taken(queue) == ["greedy-x", "other-1", "greedy-y", "other-2", "greedy-z"]


def test_who_comes_later_does_not_wait_for_all_before() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.add(["a"], f"a{number}")
    assert queue.take() == "a0"
    queue.add(["b"], "b0")
    assert [queue.take(), queue.take()] == ["a1", "b0"]


def test_some_are_taken_out_of_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for owner, item in (("a", "x1"), ("a", "y1"), ("b", "x2"), ("b", "x3")):
        queue.add([owner], item)
    assert queue.take_where(lambda item: item[0] == "x", 2) == ["x1", "x2"]
    assert taken(queue) == ["y1", "x3"]
    with pytest.raises(IndexError):
        queue.take()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=30))
def test_nothing_is_lost(owners: list[tuple[str, str]]) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, owner in enumerate(owners):
        queue.add(owner, number)
    assert len(queue) == len(owners)
    assert sorted(queue.take() for _ in owners) == list(range(len(owners)))
    assert len(queue) == 0
