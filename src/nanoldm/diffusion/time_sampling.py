"""Random timesteps and noise of training."""

from collections.abc import Sequence

import torch
from torch import Tensor

DISTRIBUTIONS = ("uniform", "logit-normal")


def sample_noise_levels(shape: Sequence[int], timesteps: int, stream: torch.Generator,
                        distribution: str = "uniform") -> dict[str, Tensor]:
    """One timestep "t" (B,) and one noise "eps" (B, ...) per latent.

    shape: of the latents, (B, ...).

    distribution: "uniform" on 0 ... timesteps - 1, or "logit-normal", which prefers the middle
        (Esser et al. 2024, arXiv 2403.03206, eq. 19):

        t = floor(timesteps sigmoid(z))        z ~ N(0, 1)

    stream: a CPU generator, so that every device gets the same values. The result is on the CPU.
    """
    if distribution == "logit-normal":
        t = (torch.randn(shape[0], generator=stream).sigmoid() * timesteps).long()
        t = t.clamp(max=timesteps - 1)
    else:
        t = torch.randint(timesteps, (shape[0],), generator=stream)
    eps = torch.randn(shape, generator=stream)
    return {"t": t, "eps": eps}
