"""Turns, places, deadlines and departures, without any model."""

from __future__ import annotations

import contextvars
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from nls_core.analysis.lane import NOBODY, VISITOR, Lane, Place, Queue, Visitor
from nls_core.errors import Departed, Overdue, QueueFull


class Busy:
    """A lane whose thread is held until `release`, so that others have to wait."""

    def __init__(self) -> None:
        self.lane, self.hold = Lane("test"), threading.Event()
        self.pool = ThreadPoolExecutor(20)
        inside = threading.Event()

        def block() -> None:
            inside.set()
            self.hold.wait(10)

        self.first = self.pool.submit(self.lane.run, Place(NOBODY, 10), block)
        assert inside.wait(5)

    def ask(self, place: Place, done: list[str]) -> Future[None]:
        """Queue up a work that writes its visitor's name; returns once it waits."""
        before = self.lane.waiting
        job = self.pool.submit(self.lane.run, place, lambda: done.append(place.visitor.name))
        while self.lane.waiting == before and not job.done():
            time.sleep(0.001)
        return job

    def release(self) -> None:
        self.hold.set()
        self.first.result(5)


def test_visitors_take_turns_however_much_one_asks() -> None:
    busy, done = Busy(), list[str]()
    jobs = [busy.ask(Place(Visitor("greedy"), 10), done) for _ in range(5)]
    jobs += [busy.ask(Place(Visitor(name), 10), done) for name in ("second", "third")]
    busy.release()
    for job in jobs:
        job.result(5)
    assert done[:3] == ["greedy", "second", "third"]
    assert done[3:] == ["greedy"] * 4


def test_everything_is_computed_in_one_thread() -> None:
    lane = Lane("only")
    with ThreadPoolExecutor(8) as pool:
        threads = pool.map(lambda _: lane.run(Place(NOBODY, 10), threading.get_ident), range(40))
        assert len(set(threads)) == 1


def test_a_lane_is_idle_once_after_works_that_follow_each_other() -> None:
    idle: list[str] = []
    quiet = threading.Event()

    def rest() -> None:
        idle.append("idle")
        quiet.set()

    lane = Lane("test", rest, 0.1)
    for number in range(5):
        lane.run(Place(NOBODY, 10), partial(idle.append, f"work {number}"))
    assert quiet.wait(10)
    time.sleep(0.3)
    assert idle == [*(f"work {number}" for number in range(5)), "idle"]
    quiet.clear()
    lane.run(Place(NOBODY, 10), lambda: None)
    assert quiet.wait(10)


def test_the_work_sees_the_callers_context_and_its_errors_come_back() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    variable.set(7)
    lane = Lane("test")
    assert lane.run(Place(NOBODY, 10), variable.get) == 7
    with pytest.raises(ZeroDivisionError):
        lane.run(Place(NOBODY, 10), lambda: 1 / 0)
    assert lane.run(Place(NOBODY, 10), lambda: 1) == 1


def test_who_leaves_while_waiting_is_never_computed_for() -> None:
    busy, done, gone = Busy(), list[str](), threading.Event()
    job = busy.ask(Place(Visitor("leaver", gone.is_set), 10), done)
    gone.set()
    with pytest.raises(Departed):
        job.result(5)  # while the lane is still held
    busy.release()
    assert busy.lane.run(Place(NOBODY, 10), lambda: list(done)) == []


def test_who_leaves_while_computing_stops_at_the_next_look() -> None:
    gone, steps = threading.Event(), 0
    place = Place(Visitor("leaver", gone.is_set), 10)

    def work() -> None:
        nonlocal steps
        while True:
            steps += 1
            if steps == 3:
                gone.set()
            place.check()

    with pytest.raises(Departed):
        Lane("test").run(place, work)
    assert steps == 3


def test_the_clock_runs_while_computing_not_while_waiting() -> None:
    place = Place(NOBODY, 0.05)
    time.sleep(0.1)
    place.check()

    def work() -> None:
        place.check()
        time.sleep(0.1)
        place.check()

    with pytest.raises(Overdue, match=r"more than 0\.05 s"):
        Lane("test").run(place, work)


def in_place(queue: Queue, name: str, leave: threading.Event) -> tuple[Place, Future[None]]:
    """A place held by another thread until `leave`."""
    taken: Future[Place] = Future()

    def hold() -> None:
        VISITOR.set(Visitor(name))
        try:
            with queue.place() as place:
                taken.set_result(place)
                leave.wait(10)
        except QueueFull as error:
            taken.set_exception(error)

    job = ThreadPoolExecutor(1).submit(hold)
    return taken.result(5), job


def test_a_full_queue_refuses_at_once_and_places_come_back() -> None:
    queue, leave = Queue(2, 10), threading.Event()
    jobs = [in_place(queue, name, leave)[1] for name in ("a", "b")]
    assert queue.in_use == 2
    with pytest.raises(QueueFull, match="2 works"):
        in_place(queue, "c", leave)
    leave.set()
    for job in jobs:
        job.result(5)
    assert queue.in_use == 0


def test_the_greediest_makes_room_for_a_newcomer() -> None:
    queue, leave = Queue(3, 10), threading.Event()
    greedy = [in_place(queue, "greedy", leave)[0] for _ in range(3)]
    in_place(queue, "newcomer", leave)
    assert [place.bumped for place in greedy] == [False, False, True]
    with pytest.raises(QueueFull, match="fewer places"):
        greedy[2].check()
    with pytest.raises(QueueFull):  # who has as many as everybody gets no more
        in_place(queue, "newcomer", leave)
    assert queue.in_use == 3
    leave.set()


def test_who_is_let_in_counts_before_the_place_is_taken() -> None:
    queue, leave = Queue(3, 10), threading.Event()
    assert not queue.is_full("a", 2)
    assert queue.is_full("a", 3)
    for _ in range(3):
        in_place(queue, "greedy", leave)
    assert queue.is_full("greedy", 0)
    assert not queue.is_full("newcomer", 3)  # for whom the greedy makes room
    leave.set()


def test_what_is_being_computed_is_never_bumped() -> None:
    queue, leave = Queue(2, 10), threading.Event()
    places = [in_place(queue, "greedy", leave)[0] for _ in range(2)]
    for place in places:
        place.begin()
    with pytest.raises(QueueFull):
        in_place(queue, "newcomer", leave)
    leave.set()
