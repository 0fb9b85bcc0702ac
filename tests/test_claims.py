"""The study of the design claims: its arms, its networks, its statistics."""

import json

import claims
import claims_arm
import claims_measures
import claims_networks as own
import claims_statistics as statistics
import pytest
import torch
from claims_study import Arm, Bound, Contrast, Study, load_study
from torch import distributions

from nanoldm.diffusion import NoiseSchedule
from nanoldm.experiments.recipes import load_recipe
from nanoldm.experiments.stages import denoiser_stage
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.utils.config import flat

SMALL = dict(tokens=16, channels=3, width=32, depth=2, heads=2, hidden=64)


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study()


def contrasts(study: Study):
    for claim in study.claims.values():
        found = [claim.fact, claim.low_rate, claim.explanation, *claim.conditions, *claim.also]
        yield from (each for each in found if isinstance(each, Contrast))


# The arms


def test_every_arm_is_a_recipe_that_differs_in_one_thing_from_its_parent(study):
    for name in study.arms.keys() - {"reference"}:
        parent = study.arms[name].parent or "reference"
        own, before = (flat(study.recipe(each, 0).model_dump()) for each in (name, parent))
        groups = {field.split(".")[0] for field in own if own[field] != before[field]}
        arms = [study.settings_of(each) for each in (name, parent)]
        others = [key for key in ("latents", "autoencoder", "table")
                  if getattr(arms[0], key) != getattr(arms[1], key)]
        assert len([*groups, *others]) == 1, name


def test_every_contrast_compares_what_is_measured(study):
    for contrast in contrasts(study):
        for side in (contrast.worse, contrast.better):
            for arm, variant in statistics.terms(side):
                settings = study.arms[arm]
                needs = {"": True, "raw": True, "ddpm": settings.ddpm, "short": settings.tracks,
                         "raw-short": settings.tracks,
                         "raw-ddpm": settings.tracks and settings.ddpm}
                assert needs[variant], (arm, variant)


def test_every_explanation_by_a_value_is_measured(study):
    for claim in study.claims.values():
        if isinstance(claim.explanation, Bound) and claim.explanation.value == "probe":
            assert study.arms[claim.explanation.arm].probe


def test_first_seeds_of_the_first_tier_come_first(study):
    found = claims.jobs(study, 2, (), ())
    tiers = [study.arms[arm].tier for arm, _ in found]
    assert tiers == sorted(tiers)
    assert len(set(found)) == len(found) == sum(len(arm.seeds) for arm in study.arms.values())
    assert claims.jobs(study, 1, ("axial",), (7,)) == [("axial", 7)]
    with pytest.raises(SystemExit, match=r"no arm axal: claims\.py status lists"):
        claims.jobs(study, 1, ("axal",), ())


# The networks


def random_weights(network):
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_axial_attention_depends_only_on_the_differences_of_row_and_column():
    rope = own.Axial(**SMALL).blocks[0].attention.rope
    torch.manual_seed(0)
    q, k = torch.randn(2, 16)
    rotated_q, rotated_k = (rope(x.expand(16, 16)) for x in (q, k))
    scores = (rotated_q @ rotated_k.T).view(4, 4, 4, 4)               # row, column; row, column
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 1, 3, 3])
    assert abs(scores[0, 0, 1, 2] - scores[0, 0, 2, 1]) > 1e-3        # a row is no column
    assert abs(scores[0, 3, 1, 0] - scores[0, 0, 0, 1]) > 1e-3        # unlike on one line


@pytest.mark.parametrize("name", ["NoTime", "AddedOnceGated", "RandomStart", "Axial", "NoPosition"])
def test_every_network_is_built_without_memory_as_a_dry_run_does(name):
    with torch.device("meta"):
        assert next(getattr(own, name)(**SMALL).parameters()).is_meta


def test_a_network_without_positions_cannot_tell_tokens_apart():
    network, order = random_weights(own.NoPosition(**SMALL)), torch.randperm(16)
    x, t = torch.randn(2, 16, 3), torch.tensor([3, 60])
    torch.testing.assert_close(network(x, t)[:, order], network(x[:, order], t))
    plain = random_weights(DiffusionNet(**SMALL))
    assert not torch.allclose(plain(x, t)[:, order], plain(x[:, order], t), atol=1e-3)


def test_a_network_without_time_gives_the_same_at_every_timestep():
    network, x = random_weights(own.NoTime(**SMALL)), torch.randn(2, 16, 3)
    torch.testing.assert_close(network(x, torch.tensor([0, 0])), network(x, torch.tensor([5, 99])))


def test_gated_blocks_start_as_the_identity_and_random_ones_do_not():
    x, c = torch.randn(2, 16, 32), torch.randn(2, 32)
    for block in own.AddedOnceGated(**SMALL).blocks:
        torch.testing.assert_close(block(x), x)
    for block in own.RandomStart(**SMALL).blocks:
        assert not torch.allclose(block(x, c), x, atol=1e-3)
    assert own.RandomStart(**SMALL)(torch.randn(2, 16, 3), torch.tensor([3, 4])).abs().max() > 0


def test_lifting_keeps_energy_and_the_decoder_ignores_the_other_channels():
    plain = random_weights(ConvAE(hidden_channels=4))
    images = torch.rand(5, 1, 28, 28)
    plain.set_statistics(plain.encode_raw(images))
    lifted = own.Lifted(plain, 64)
    tokens, noise = lifted.encode(images), torch.randn(5, 49, 64)
    assert tokens.shape == (5, 49, lifted.latent_channels) == (5, 49, 64)
    torch.testing.assert_close(tokens.square().sum(), plain.encode(images).square().sum())
    torch.testing.assert_close(lifted.decode(tokens), plain(images))
    aside = noise - noise @ lifted.lift @ lifted.lift.T
    torch.testing.assert_close(lifted.decode(tokens + aside), plain(images), atol=1e-4, rtol=1e-4)


def test_the_divergence_is_that_of_torch_distributions(monkeypatch):
    torch.manual_seed(0)
    loss, images = own.KLReconstructionLoss(ConvAE(hidden_channels=4)), torch.rand(3, 1, 28, 28)

    def value(weight: float) -> float:
        monkeypatch.setattr(own, "KL_WEIGHT", weight)
        torch.manual_seed(1)
        return loss(images).item()

    hidden = loss.autoencoder.encoder[:-1](images)
    mu, sd = loss.autoencoder.encoder[-1](hidden), loss.log_sd(hidden).exp()
    exact = distributions.kl_divergence(distributions.Normal(mu, sd), distributions.Normal(0, 1))
    assert value(1) - value(0) == pytest.approx(exact.sum().item() / 3 / 784, rel=1e-4)


def test_the_shifted_table_gives_raw_latents_the_noise_levels_of_normalised_ones():
    energy, schedule = 14.0, NoiseSchedule()
    stage = denoiser_stage(load_recipe("mnist"), ConvAE(), 0)
    claims_arm.replace_table(stage, Arm(title="", table="shifted"), energy)
    alpha, sigma = stage.averaged.denoiser.schedule(torch.arange(98))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(98))
    before = torch.div(*schedule(torch.arange(98)))
    torch.testing.assert_close(alpha / sigma * energy**0.5, before, rtol=1e-4, atol=1e-5)


def test_explained_is_1_for_a_linear_function_and_0_for_noise():
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 5, generator=stream, dtype=torch.float64)
    assert claims_measures.explained(x, 3 * x[:, 0] - x[:, 4] + 7) > 0.999
    noise = torch.randn(4000, generator=stream, dtype=torch.float64)
    assert abs(claims_measures.explained(x, noise)) < 0.02


# The run


@pytest.mark.slow
def test_a_run_adds_each_arm_once_and_the_same_again(tmp_path, monkeypatch):
    file, recipe = tmp_path / "claims.jsonl", Study.recipe

    def short(self: Study, name: str, seed: int):
        return recipe(self, name, seed).replace(training={"steps": 8},
                                                autoencoder_training={"steps": 8})

    monkeypatch.setattr(Study, "recipe", short)
    monkeypatch.setattr(claims, "load_study",
                        lambda: load_study().replace(setting={"images": 32}))
    threads = torch.get_num_threads()
    try:
        for _ in range(2):
            claims.run(tmp_path / "folder", arms=("rate-low",), results=file)
        (line,) = file.read_text().splitlines()
        file.unlink()
        claims.run(tmp_path / "folder", arms=("rate-low",), results=file)  # it was killed
    finally:
        torch.set_num_threads(threads)
    first, again = (json.loads(each) for each in (line, file.read_text()))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert (first["arm"], first["steps"]) == ("rate-low", 8)
