"""Numbers and memory: too much is an error before it is used."""


import subprocess
import sys

import pytest

from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import check_memory, free_memory, gigabytes, short, within


@pytest.mark.parametrize(("number", "text"),
                         [(7, "7"), (-12, "-12"), (10**40, "10^40"), (-(10**300), "-10^300")])
def test_a_number_of_any_length_can_be_named(number, text):
    assert short(number) == text


def test_a_number_within_its_bounds_is_itself():
    assert within("n", 3, 1, 3) == 3
    for wrong in (0, 4, 10**5000):
        with pytest.raises(InputError, match=r"^n .*: choose a number from 1 to 3"):
            within("n", wrong, 1, 3)


def test_more_memory_than_there_is_is_an_error_with_both_sizes():
    check_memory(1, "a byte", "take none")
    with pytest.raises(InputError,
                       match=r"memory for the moon: about 1,000 TB needed, [\d.]+ GB free: take "
                       r"less"):
        check_memory(1e15, "the moon", "take less")
    assert gigabytes(3.21e9) == "3.2 GB"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
def test_a_limit_that_the_user_set_counts():
    import resource
    code = "from nanoldm.utils.limits import free_memory; print(free_memory())"
    free = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    ).stdout
    assert 0 < float(free) < 2**30 < free_memory()
