"""Texts of the command line become numbers, or an error that names the option."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoldm.cli.options import parse_duration
from nanoldm.cli.sample import IMAGES, parse_seeds
from nanoldm.utils.errors import InputError
from nanoldm.utils.text import duration


@pytest.mark.parametrize(("text", "seconds"),
                         [("90s", 90), ("20m", 1200), ("1h", 3600), ("1h30m", 5400),
                          ("1h0m5s", 3605), ("2m30s", 150), ("1.5h", 5400), ("0.5s", 0.5),
                          (" 20m ", 1200)])
def test_durations_are_sums_of_hours_minutes_and_seconds(text, seconds):
    assert parse_duration(text) == seconds


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(0, 600), st.integers(1, 600))
def test_a_duration_is_read_as_it_was_written(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize("text",
                         ["", "20", "m", "1h30", "30m1h", "20 min", "-5m", "1d", "0s", "0h0m",
                          "1e3s", "nan", "inf", "1.5.2s", "20m20m", "9" * 400 + "s"])
def test_other_texts_are_errors_with_examples(text):
    with pytest.raises(InputError, match=r"budget .*: give a time such as 90s, 20m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "numbers"),
                         [("7", [7]), ("3,7,20-22", [3, 7, 20, 21, 22]), ("5-5", [5]),
                          ("9,1", [9, 1]), (" 1 , 2-3 ", [1, 2, 3]), ("4,4", [4, 4])])
def test_seeds_are_numbers_and_ranges_in_the_order_given(text, numbers):
    assert parse_seeds(None, None, text, IMAGES) == numbers


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 20)), min_size=1, max_size=8))
def test_seeds_are_read_as_they_were_written(parts):
    text = ",".join(f"{start}-{start + length}" if length else str(start)
                    for start, length in parts)
    assert parse_seeds(None, None, text, IMAGES) == [
        start + k for start, length in parts for k in range(length + 1)
    ]


@pytest.mark.parametrize("text",
                         ["", ",", "1,", "a", "1-", "-1", "1--3", "1.5", "1;2", "3,x,5", "20-10",
                          "3,20-10", "1-2-3"])
def test_texts_that_are_not_seeds_are_errors_with_an_example(text):
    with pytest.raises(InputError, match=r"seeds .*: give numbers and ranges such as 3,7,20-29"):
        parse_seeds(None, None, text, IMAGES)


def test_n_images_count_up_from_the_seed():
    assert parse_seeds(4, 10, None, IMAGES) == [10, 11, 12, 13]
    assert parse_seeds(2, None, None, IMAGES) == [0, 1]
    assert parse_seeds(None, 5, None, IMAGES) == list(range(5, 5 + IMAGES))
    assert parse_seeds(None, None, None, IMAGES) == list(range(64))


@pytest.mark.parametrize(("n", "seed"), [(3, None), (None, 0), (3, 0)])
def test_seeds_by_name_exclude_n_and_seed(n, seed):
    with pytest.raises(InputError, match="leave out --n and --seed"):
        parse_seeds(n, seed, "1,2", IMAGES)


@pytest.mark.parametrize(("n", "seed", "option"),
                         [(0, None, "n 0"), (-3, 5, "n -3"), (2, -1, "seed -1")])
def test_counts_below_1_and_seeds_below_0_are_errors(n, seed, option):
    with pytest.raises(InputError, match=f"^{option}: "):
        parse_seeds(n, seed, None, IMAGES)


def test_durations_read_well():
    assert [
        duration(seconds) for seconds in (4.4, 90, 3599, 40000)
    ] == ["4 s", "1 min 30 s", "59 min 59 s", "11 h 6 min"]
