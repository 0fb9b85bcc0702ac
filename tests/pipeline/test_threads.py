"""Batches: their sizes; in threads the same images in order, and an end when one fails."""

import threading
import time
from copy import deepcopy

import pytest
import torch

from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.components import CPU_BATCH, CPU_TOKENS
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.threads import even_batches, map_batches
from nanoldm.utils.errors import InputError

GREY_LEVEL = 1 / 255
BATCHES = [slice(k, k + 2) for k in range(0, 10, 2)]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_in_the_order_of_the_batches(threads):
    values, before = torch.arange(10), torch.get_num_threads()
    results = map_batches(lambda batch, stopped: values[batch] ** 2, BATCHES, threads)
    assert torch.equal(torch.cat(results), values**2)
    assert torch.get_num_threads() == before


def test_each_batch_has_one_thread_and_as_many_run_as_there_are_threads():
    barrier, seen = threading.Barrier(2, timeout=10), []

    def task(batch, stopped):
        barrier.wait()  # fails unless two run at a time
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return torch.zeros(1)

    map_batches(task, BATCHES[:4], threads=2)
    assert {count for _, count in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}


@pytest.mark.parametrize("wrong", [0, 2])
def test_after_an_error_the_other_batches_stop(wrong):
    begun, deadline = [], time.monotonic() + 10

    def task(batch, stopped):
        begun.append(batch.start)
        if batch.start == wrong:
            raise InputError("this batch is wrong")
        while not stopped():
            assert time.monotonic() < deadline

    with pytest.raises(InputError, match="this batch is wrong"):
        map_batches(task, BATCHES, threads=2)
    assert set(begun) <= {0, 2, 4}  # those that ran at the time, and not all others


@pytest.mark.parametrize(("count", "most", "threads", "sizes"),
                         [(64, 64, 2, [64]), (65, 64, 2, [33, 32]), (7, 2, 1, [2, 2, 2, 1]),
                          (500, 256, 16, [32] * 15 + [20]), (300, 64, 2, [50] * 6)])
def test_all_threads_have_equal_batches(count, most, threads, sizes):
    batches = even_batches(count, most, threads)
    assert [len(range(count)[batch]) for batch in batches] == sizes


def test_a_batch_has_as_many_images_as_suit_their_tokens():
    def batch(levels, **options):
        autoencoder = ConvAE(28, levels=levels)
        network = DiffusionNet(tokens=autoencoder.tokens, width=32, heads=2, depth=1, **options)
        return LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule()), 3.0)

    for model, patches in ((batch(2), 49), (batch(3), 16), (batch(3, patch=2), 4)):
        images = model.images_per_batch
        assert images == CPU_BATCH or images * patches <= CPU_TOKENS < (images + 1) * patches


def test_a_compiled_model_generates_one_batch_at_a_time(tiny_pipeline, monkeypatch):
    model = deepcopy(tiny_pipeline)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr("nanoldm.pipeline.components.check_compiler", lambda device: None)
    assert model.batches_at_a_time == 3
    assert model.images_at_a_time == 3 * 64
    assert model.compile().batches_at_a_time == 1


@pytest.mark.parametrize("settings", [{"steps": 20}, {"steps": 5, "sampler": "ab3"},
                                      {"steps": 5, "x_T": torch.rand(7, 49, 6)}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_change_no_image(tiny_pipeline, monkeypatch, settings, precision):
    model = deepcopy(tiny_pipeline).use_precision(precision)
    model.batch_size = 2
    monkeypatch.setattr(LatentDiffusion, "batches_at_a_time", 1)
    expected = model.generate(7, **settings)
    monkeypatch.setattr(LatentDiffusion, "batches_at_a_time", 3)
    found = model.generate(7, **settings)
    assert (found - expected).abs().max() <= (GREY_LEVEL if precision == "fp32" else 0.1)
    assert not torch.is_autocast_enabled("cpu")


def test_ctrl_c_ends_all_threads(tiny_pipeline, monkeypatch):
    model, calls = deepcopy(tiny_pipeline), []
    model.batch_size = 2
    monkeypatch.setattr(LatentDiffusion, "batches_at_a_time", 2)

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    model.denoiser.network.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.generate(40, steps=50)
    assert len(calls) < 50  # not the 20 batches of 50 steps
