"""How a stage cuts its batches."""

import pytest
import torch

from nanoldm import RECIPES
from nanoldm.seeding import generator
from nanoldm.stages import denoiser_stage


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def stage(compiled=False, batch_size=256, **network):
    recipe = RECIPES["mnist"]().replace(network={"width": 8, "depth": 1, "hidden": 8, **network}, training={"batch_size": batch_size})
    return denoiser_stage(recipe, torch.randn(300, 4, 6, generator=generator(0)), compiled)


def test_a_batch_is_cut_for_the_threads_of_the_cpu_but_not_too_small():
    assert stage().pieces > 1
    assert stage(batch_size=48).pieces <= 3
    assert stage(batch_size=8).pieces == 1
    torch.set_num_threads(1)
    assert stage().pieces == 1


def test_a_batch_stays_whole_where_it_is_compiled_or_threads_would_draw_random_numbers_in_any_order():
    assert stage(compiled=True).pieces == stage(dropout=0.1).pieces == 1


def test_a_run_with_pieces_repeats_bit_for_bit_and_takes_the_steps_of_one_without():
    first, second, whole = stage(), stage(), stage()
    whole.pieces = 1
    runs = [[step.loss for step in each.run(5)] for each in (first, second, whole)]
    assert runs[0] == runs[1]
    torch.testing.assert_close(runs[0], runs[2])
