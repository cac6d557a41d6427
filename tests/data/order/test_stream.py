"""The stream: what an optimizer step sees is no matter of ranks, workers, micro-batches or interruptions."""

import pytest
from torch.utils.data import DataLoader

from vxl.data.order.mixture import Mixture
from vxl.data.order.rows import Order
from vxl.data.order.stream import MicroBatch, Stream, schedule
from vxl.data.sample import BadSample, Sample, SampleWithMedia, Turn
from vxl.data.source.ranges import GoneError
from vxl.errors import DataError
from vxl.seeds import seed_of

GLOBAL = 8


class Texts:
    """Samples of 1 to 9 words; number 5 can't be read, number 6 can't be decoded."""

    def __init__(self):
        self.loaded = 0

    def __len__(self):
        return 50

    def record(self, number):
        return Sample(str(number), (Turn("user", "w" * (number % 9 + 1)), Turn("assistant", "a")))

    def load(self, number):
        self.loaded += 1
        if number == 5:
            raise DataError("cut off")
        return SampleWithMedia(self.record(number))

    def where(self, number):
        return "s.tar", str(number)


def prepare(loaded: SampleWithMedia, seed: int):
    if loaded.sample.key == "6":
        raise DataError("no frames")
    return loaded.sample.key, seed


def masked(bad: BadSample):
    return bad


def stream(source=None, packed=True, **kwargs):
    mixture = Mixture({"texts": source or Texts()}, seed=2)
    order = Order(
        mixture,
        lambda s: len(s.turns[0].text),
        seed=2,
        bucket=20,
        group=GLOBAL,
        max_tokens=12 if packed else None,
    )
    return Stream(order, prepare, masked, **{"batch": 2, **kwargs})


def rows(loader) -> dict[int, list]:
    return {micro.first_row + n: row for micro in loader for n, row in enumerate(micro.rows)}


def taken(loader, count: int) -> list[MicroBatch]:
    items = iter(loader)
    return [next(items) for _ in range(count)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("ranks", "workers", "batch"), [(1, 0, 8), (1, 2, 2), (2, 0, 4), (2, 2, 1), (4, 0, 2), (8, 0, 1)]
)
def test_a_step_is_the_same_rows_for_any_ranks_workers_and_micro_batches(ranks, workers, batch, packed):
    steps, accumulate = 3, GLOBAL // (ranks * batch)
    expected = rows(stream(packed=packed, batch=GLOBAL, stop_row=steps * GLOBAL))
    for step_of in range(steps):
        union = {}
        for rank in range(ranks):
            one = stream(packed=packed, batch=batch, rank=rank, ranks=ranks, stop_row=steps * GLOBAL)
            # Worker w of a DataLoader makes items w, w + workers, ...; `accumulate` items are a rank's step.
            loader = DataLoader(one, batch_size=None, num_workers=workers)
            items = taken(loader, steps * accumulate)[step_of * accumulate : (step_of + 1) * accumulate]
            union |= rows(items)
        span = range(step_of * GLOBAL, (step_of + 1) * GLOBAL)
        assert union == {r: expected[r] for r in span}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_schedule_deals_micro_batches_to_ranks_then_workers(workers):
    for rank in range(2):
        turns = [
            schedule(6, 3, rank=rank, ranks=2, worker=worker, workers=workers, stop_row=60)
            for worker in range(workers)
        ]
        dealt, live = [], list(turns)
        while live:  # as a DataLoader asks its workers
            for turn in list(live):
                first = next(turn, None)
                if first is None:
                    live.remove(turn)
                else:
                    dealt.append(first)
        assert dealt == list(range(6 + 3 * rank, 60, 6))


@pytest.mark.parametrize("packed", [False, True])
def test_resuming_at_any_row_is_going_on_and_reads_nothing_before(packed):
    straight = rows(stream(packed=packed, stop_row=40))
    for start in (0, 2, 14, 31):
        source = Texts()
        resumed = rows(stream(source, packed=packed, start_row=start, stop_row=40))
        assert resumed == {r: row for r, row in straight.items() if r >= start}
        assert source.loaded == sum(len(row) for row in resumed.values())


def test_another_micro_batch_after_resuming():
    straight = rows(stream(batch=4, stop_row=32))
    first = rows(stream(batch=4, stop_row=16))
    assert first | rows(stream(batch=2, start_row=16, stop_row=32)) == straight


def test_bad_samples_keep_their_places():
    found = [example for row in rows(stream(packed=False, stop_row=50)).values() for example in row]
    assert len(found) == 50
    bad = sorted((example for example in found if isinstance(example, BadSample)), key=lambda b: b.key)
    assert bad == [
        BadSample("s.tar", "5", "cut off", "sample"),
        BadSample("s.tar", "6", "no frames", "media"),
    ]


def test_a_sample_that_does_not_fit_the_run_is_told_from_one_that_is_damaged():
    """Lint, which knows no run, finds the second alone."""

    def too_long(sample):
        raise DataError("too long")

    one = stream(packed=False, stop_row=50)
    place = next(place for row in range(50) for place in one.order.row(row) if place.record == 6)
    assert one.example(place).kind == "media"
    one.order.cost = too_long
    assert one.example(place).kind == "settings"


def test_a_shard_that_is_gone_is_said_to_be_so_whoever_meets_it():
    class Gone(Texts):
        def load(self, number):
            raise GoneError("s.tar is not there any more")

    def opening(loaded, seed):
        raise GoneError("s.tar is not there any more")

    met = [stream(Gone(), packed=False, stop_row=2), stream(packed=False, stop_row=2)]
    met[1].prepare = opening
    for one in met:
        assert {example.kind for row in rows(one).values() for example in row} == {"gone"}


def test_seeds_are_of_the_run_and_the_samples_number():
    """And not of its record, which comes again in the next pass, nor of its row."""
    made = stream(packed=False)
    for number in (0, 3, 50 + 7, 120):
        place = made.order.row(number)[0]
        example = made.example(place)
        if isinstance(example, tuple):
            assert example[1] == seed_of(2, "sample", place.number)
    seeds = [
        example[1] for row in rows(stream(stop_row=40)).values() for example in row if type(example) is tuple
    ]
    assert len(set(seeds)) == len(seeds) > 50


def test_the_last_micro_batch_ends_where_the_stream_ends():
    assert [len(micro.rows) for micro in stream(batch=4, stop_row=10)] == [4, 4, 2]


def test_anchors_resume_a_packed_stream():
    micro = taken(stream(), 12)[-1]
    order = stream().order
    resumed = Order(
        order.mixture, order.cost, seed=2, bucket=20, group=GLOBAL, max_tokens=12, anchor=micro.anchor
    )
    assert [resumed.row(micro.first_row + n) for n in range(20)] == [
        order.row(micro.first_row + n) for n in range(20)
    ]
