"""Schedules that every test of this room should hold for."""

from hypothesis import strategies as st

from bench.schedule import Burst, Constant, Poisson, Ramp, Sine, Spike, Steps

RATED = [
    Constant(500),
    Poisson(800),
    Steps((100, 0, 400), each=1.5),
    Steps((0, 250), each=2, even=True),
    Ramp(0, 1000, over=4),
    Ramp(900, 0, over=3),
    Ramp(700, 100, over=2.5, even=True),
    Spike(200, 5, at=1, lasting=0.7),
    Spike(300, 0, at=0, lasting=1.1, even=True),
    Sine(100, 700, period=2.3),
    Sine(0, 900, period=1.7, even=True),
]

bursts = st.builds(Burst, st.integers(1, 300), st.floats(0.05, 7))
rates = st.floats(0.5, 5000)
lengths = st.floats(0.01, 20)
even = st.booleans()
rated = st.one_of(
    st.builds(Constant, rates),
    st.builds(Poisson, rates),
    st.builds(
        Steps,
        st.lists(rates | st.just(0.0), min_size=1, max_size=4).filter(any).map(tuple),
        lengths,
        even=even,
    ),
    st.builds(Ramp, rates | st.just(0.0), rates, lengths, even=even),
    st.builds(Spike, rates, st.floats(0, 10), lengths, lengths, even=even),
    st.tuples(rates, rates, lengths, even).map(
        lambda drawn: Sine(min(drawn[:2]), max(drawn[:2]), drawn[2], even=drawn[3])
    ),
)
