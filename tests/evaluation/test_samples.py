"""Samples are generated once: reused, completed after an interruption, replaced if they differ."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from nanoldm.diffusion import NoiseSchedule
from nanoldm.diffusion.samplers.multistep import adams_bashforth
from nanoldm.evaluation import samples
from nanoldm.evaluation.samples import SampleSet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_bytes

TWO = Sampling(steps=2)


def test_samples_are_reused_and_only_missing_ones_are_generated(tiny_pipeline, tmp_path):
    file = tmp_path / "samples.npz"
    SampleSet(tiny_pipeline, file, range(3, 13), TWO).images()
    same = SampleSet(tiny_pipeline, file, range(3, 13), TWO)
    assert same.announcement() == [f"reusing 10 samples of {file}"]
    (more,) = SampleSet(tiny_pipeline, file, range(3, 18), TWO).announcement()
    assert more.startswith("generating 5 samples with 2 NFE: about")
    assert more.endswith("(10 more are reused)")
    lost, cost = SampleSet(tiny_pipeline, file, range(3, 13), Sampling(steps=9)).announcement()
    assert lost.endswith("with other weights or settings, or is damaged: it is replaced")
    assert cost.startswith("generating 10 samples with 9 NFE")
    merged = SampleSet(tiny_pipeline, tmp_path / "m.npz", [0], Sampling("ddim", 60, "shifted"))
    assert merged.announcement()[0].startswith("note: 60 steps with shifted spacing visit")


def test_samples_of_a_function_are_generated_again(tiny_pipeline, tmp_path):
    """Two functions may have one name."""
    for order in (1, 2):
        function = partial(adams_bashforth, order=order)
        found = SampleSet(tiny_pipeline, tmp_path / "s.npz", range(3), Sampling(function, 4))
        images = tiny_pipeline.generate(range(3), settings=Sampling(function, 4))
        assert torch.equal(found.images(), to_bytes(images))
    again = SampleSet(tiny_pipeline, tmp_path / "s.npz", range(3), Sampling(function, 4))
    assert again.announcement()[0].endswith("may be of another function: it is replaced")

    def ddim(*arguments):
        return adams_bashforth(*arguments, order=1)

    SampleSet(tiny_pipeline, tmp_path / "d.npz", range(3), Sampling(ddim, 4)).images()
    assert len(SampleSet(tiny_pipeline, tmp_path / "d.npz", range(3),
                         Sampling("ddim", 4)).missing) == 3


def test_guidance_of_a_model_without_labels_is_an_error_before_sampling(tiny_pipeline, tmp_path):
    with pytest.raises(InputError, match="guidance needs labels"):
        SampleSet(tiny_pipeline, tmp_path / "s.npz", range(10), Sampling(steps=2, guidance=2.0))


def test_an_interrupted_generation_continues(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SAVE_EVERY", 4)
    monkeypatch.setattr(tiny_pipeline, "batch_size", 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    generate, calls = tiny_pipeline.generate_shared, []

    def stop_in_the_second_batch(seeds, *args, **options):
        calls.append(list(seeds))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(seeds, *args, **options)

    def made(name: str, settings: Sampling = TWO) -> SampleSet:
        return SampleSet(tiny_pipeline, tmp_path / name, range(10), settings)

    first = made("s.npz")
    with monkeypatch.context() as patch:
        patch.setattr(tiny_pipeline, "generate_shared", stop_in_the_second_batch)
        with pytest.raises(KeyboardInterrupt):
            first.images()
    again = made("s.npz")
    assert again.missing == [4, 5, 6, 7, 8, 9]
    assert torch.equal(again.images(), made("whole.npz").images())
    others = (Sampling(steps=2, clamp=False), Sampling("ddim", 2), Sampling("ddim", 2, eta=0.5),
              Sampling(steps=2, spacing="log-snr"))
    for other in others:
        assert made("s.npz", other).missing == list(range(10))


def weight(model: LatentDiffusion) -> None:
    model.denoiser.network.out_proj.bias.data += 1


def autoencoder(model: LatentDiffusion) -> None:
    model.autoencoder.decoder[0].bias.data += 1


def limit(model: LatentDiffusion) -> None:
    model.clip_sample_range += 1


def precision(model: LatentDiffusion) -> None:
    model.use_precision("bf16")


@pytest.mark.parametrize("change", [weight, autoencoder, limit, precision])
def test_samples_of_another_model_are_generated_again(tiny_pipeline, tmp_path, change):
    model = deepcopy(tiny_pipeline)
    SampleSet(model, tmp_path / "s.npz", range(3), TWO).images()
    change(model)
    assert SampleSet(model, tmp_path / "s.npz", range(3), TWO).missing == [0, 1, 2]


def test_samples_with_guidance_or_portable_noise_are_generated_again(tmp_path):
    model = LatentDiffusion.from_pretrained("mnist-fast-conditional")
    SampleSet(model, tmp_path / "samples.npz", range(3), TWO).images()
    guided = SampleSet(model, tmp_path / "samples.npz", range(3), Sampling(steps=2, guidance=2.0))
    assert guided.missing == [0, 1, 2]
    portable = SampleSet(model.use_rng("portable"), tmp_path / "samples.npz", range(3), TWO)
    assert portable.missing == [0, 1, 2]
    assert portable.facts()["rng"] == "portable"


def test_samples_of_other_random_streams_are_generated_again(tiny_pipeline, tmp_path, monkeypatch):
    def made() -> SampleSet:
        return SampleSet(tiny_pipeline, tmp_path / "samples.npz", range(3), TWO)

    made().images()
    assert made().missing == []
    monkeypatch.setattr(samples, "STREAMS", "32 bits")
    assert made().missing == [0, 1, 2]


def test_the_labels_are_those_that_the_images_are_conditioned_on(tmp_path):
    model = LatentDiffusion.from_pretrained("mnist-fast-conditional")
    made = SampleSet(model, tmp_path / "s.npz", range(5, 9), TWO).image_set()
    assert torch.equal(made.labels, model.draw_labels(range(5, 9)))
    images = model.generate(range(5, 9), settings=TWO)
    assert torch.equal(made.images, images.mul(255).round().to(torch.uint8))


def test_the_cost_is_the_sum_over_missing_images(monkeypatch):
    """With a clock on which a batch of 4 takes 1 second and 2 more for each evaluation."""
    clock = [0.0]

    def generate(seeds, settings):
        clock[0] += len(seeds) / 4 * (1 + 2 * settings.steps)

    monkeypatch.setattr(samples.time, "perf_counter", lambda: clock[0])
    denoiser = SimpleNamespace(schedule=NoiseSchedule())
    model = SimpleNamespace(images_at_a_time=4, generate=generate, denoiser=denoiser,
                            student=False)
    parts = [SimpleNamespace(model=model, missing=range(count), nfe=nfe)
             for count, nfe in ((8, 5), (4, 1), (0, 9))]
    assert samples.seconds(parts) == pytest.approx(2 * (1 + 2 * 5) + (1 + 2 * 1))
    assert samples.seconds(parts[2:]) == 0
