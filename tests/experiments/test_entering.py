"""Images of other types, shapes and ranges are errors; buffers are kept; the environment changes no
weights.
"""

import pytest
import torch

from nanoldm.experiments.latents import raw_tokens
from nanoldm.experiments.recipes import mnist
from nanoldm.experiments.stages import autoencoder_stage
from nanoldm.training import EMA, fit
from nanoldm.utils.errors import InputError


def test_an_ema_has_the_running_statistics_of_its_source():
    source = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    ema = EMA(source, 0.9)
    for k in range(1, 4):
        source(torch.randn(8, 3) * 5 + 2)
        ema.update(k)
    assert source[0].num_batches_tracked == 3
    for own, live in zip(ema.module.buffers(), source.buffers(), strict=True):
        assert torch.equal(own, live)


@pytest.mark.parametrize("images",
                         [torch.rand(9, 1, 8, 8), torch.zeros(9, 8, 8, dtype=torch.uint8),
                          torch.zeros(9, 2, 8, 8).byte(), torch.zeros(9, 1, 8, 6).byte(),
                          torch.zeros(9, 1, 8, 8).bool()])
def test_images_of_another_type_or_shape_are_errors(tiny_pipeline, images):
    for enter in (lambda: autoencoder_stage(mnist(), images),
                  lambda: raw_tokens(tiny_pipeline.autoencoder, images)):
        with pytest.raises(InputError, match=r"give uint8 \(N, C, S, S\)"):
            enter()


@pytest.mark.parametrize("images",
                         [torch.zeros(2, 1, 28, 28).byte(), torch.rand(2, 1, 28, 28) * 255,
                          torch.rand(2, 1, 28, 28) * 2 - 1,
                          torch.full((2, 1, 28, 28), float("nan"))])
def test_images_of_another_range_are_errors(tiny_pipeline, images):
    with pytest.raises(InputError, match=r"give (float32 in \[0, 1\]|pixels from 0 to 1)"):
        tiny_pipeline.reconstruct(images)


@pytest.mark.parametrize("variables",
                         [{"ACCELERATE_MIXED_PRECISION": "bf16"},
                          {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
                          {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, {"LOCAL_RANK": "0"},
                          {"WORLD_SIZE": ""}, {"WORLD_SIZE": "one"},
                          {"ACCELERATE_USE_FSDP": "true", "ACCELERATE_USE_DEEPSPEED": "true"}])
def test_the_variables_of_launchers_change_no_weights(variables, monkeypatch):
    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 3)

        class Loss(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.module = module

            def forward(self, x):
                return self.module(x).square().mean()

        loss = Loss()
        batches = ({"x": torch.arange(6.0).view(2, 3) + k} for k in range(9))
        list(fit(loss, batches, [torch.optim.SGD(loss.parameters())], steps=5,
                 learning_rate=lambda k: 0.01))
        return module.weight.detach().clone()

    before = trained()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert torch.equal(trained(), before)
