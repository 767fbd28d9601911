"""The rule that sizes parts and counts connections, on made-up lines: a simulation with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from partwise.client.line import FIRST_BYTES, KIB, LONGEST_SECONDS, SMALLEST_BYTES, Line

MIB = 1024 * KIB


def line(**options: int) -> Line:
    return Line(**{"most_parallel": 8, "most_bytes": 16 * MIB, **options})


@dataclass
class Simulation:
    """A line of ``shared`` bytes a second that all connections share, and ``each`` of which one takes at most."""

    line: Line
    shared: float
    each: float
    latency: float = 0.02
    #: Bytes that a new connection takes at once, into buffers on the way.
    buffer: int = 0
    connections: int = 0
    now: float = 0.0
    longest: float = 0.0
    delivered: int = 0
    flights: list[list[float]] = field(default_factory=list)  # bytes left, bytes, begin

    def run(self, seconds: float, cut_every: float = 1e9) -> None:
        """Let it send for ``seconds``; what came of cut parts is kept, as with this server."""
        step, end, next_cut = 0.02, self.now + seconds, self.now + cut_every
        while self.now < end:
            while len(self.flights) < self.line.limit:
                size = float(self.line.part_bytes)
                self.flights.append([size, size, self.now])
            rate = min(self.each, self.shared / len(self.flights))
            self.now += step
            while self.connections < len(self.flights):
                self.connections += 1
                self.line.moved(self.buffer, len(self.flights), self.now)
            for flight in list(self.flights):
                if self.now - flight[2] < self.latency:
                    continue
                count = min(flight[0], rate * step)
                flight[0] -= count
                self.delivered += int(count)
                self.line.moved(int(count), len(self.flights), self.now)
                if flight[0] <= 0:
                    self.flights.remove(flight)
                    self.longest = max(self.longest, self.now - flight[2])
                    self.line.delivered(int(flight[1]), self.now - flight[2])
            if self.now >= next_cut:
                next_cut += cut_every
                kept = bool(self.flights)
                self.flights.clear()
                self.connections = 0
                self.line.cut(self.now, fruitless=not kept)


def test_the_first_part_is_small_and_alone() -> None:
    made = line()
    assert (made.limit, made.part_bytes) == (1, FIRST_BYTES)


def test_a_fast_line_gets_all_connections_and_large_parts_at_once() -> None:
    made = line()
    made.delivered(FIRST_BYTES, 0.002)
    assert (made.limit, made.part_bytes) == (8, 16 * MIB)


def test_a_thin_line_has_few_connections_and_small_parts() -> None:
    simulation = Simulation(line(), shared=125_000, each=125_000)
    simulation.run(60)
    assert simulation.line.limit <= 2
    assert simulation.longest < 4 * LONGEST_SECONDS
    simulation.run(60)
    assert simulation.line.part_bytes <= 2 * LONGEST_SECONDS * 125_000


@pytest.mark.parametrize("buffer", [0, 3 * MIB])
def test_where_each_connection_is_limited_all_are_used_also_when_they_are_cut(buffer: int) -> None:
    """What a new connection takes at once fills buffers: it says nothing about the line."""
    simulation = Simulation(line(), shared=1e9, each=1e6, buffer=buffer)
    simulation.run(60, cut_every=10)
    assert simulation.line.limit == 8
    assert simulation.delivered > 0.8 * 60 * 8e6


def test_cuts_make_parts_shorter_and_quiet_makes_them_longer_again() -> None:
    made = line(parallel=1)
    made.delivered(MIB, 1.0)
    before = made.part_bytes
    assert before == 4 * MIB
    for second in range(10):
        made.cut(10.0 * second, fruitless=False)
    assert made.part_bytes == MIB
    for _ in range(40):
        made.delivered(MIB, 1.0)
    assert made.part_bytes == before


def test_connections_that_break_together_are_one_event() -> None:
    made = line()
    made.delivered(FIRST_BYTES, 0.002)
    for _ in range(8):
        made.cut(5.0, fruitless=True)
    assert made.limit == 4


@pytest.mark.parametrize("event", ["cut", "crowded"])
def test_one_connection_is_always_left(event: str) -> None:
    made = line()
    for second in range(20):
        made.cut(10.0 * second, fruitless=True) if event == "cut" else made.crowded()
    assert made.limit == 1
    assert made.part_bytes >= SMALLEST_BYTES


def test_the_users_own_numbers_stay() -> None:
    made = line(parallel=3, part_bytes=1000)
    made.delivered(1000, 0.0001)
    made.cut(1.0, fruitless=True)
    made.crowded()
    assert (made.limit, made.part_bytes, made.most_parallel) == (3, 1000, 3)
    assert not made.refuses(1000)


def test_a_proxy_that_refuses_a_size_gets_smaller_ones() -> None:
    made = line(least_bytes=MIB)
    made.delivered(FIRST_BYTES, 0.002)
    assert made.refuses(16 * MIB)
    assert made.part_bytes == 8 * MIB
    assert made.refuses(128 * KIB)
    assert made.part_bytes == SMALLEST_BYTES
    assert not made.refuses(SMALLEST_BYTES)


def test_parts_of_a_huge_file_are_no_more_than_a_server_takes() -> None:
    made = line(least_bytes=64 * MIB)
    assert made.part_bytes == 64 * MIB
