"""Sample with a scheduler of diffusers: our network, their loop.

python examples/own_diffusers_loop.py        (needs diffusers)
"""

import torch
from diffusers import DDIMScheduler

from nanoldm import LatentDiffusion
from nanoldm.pipeline.folders import find_model
from nanoldm.utils.images import grid, save

model = LatentDiffusion.from_pretrained("mnist-fast-conditional")
folder = find_model("mnist-fast-conditional")
scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
scheduler.set_timesteps(25)

labels = torch.arange(10).repeat(4)
x = torch.randn(40, *model.latent_shape, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    for t in scheduler.timesteps:
        output = model.denoiser.network(x, t[None], labels)     # v, as the scheduler expects
        x = scheduler.step(output, t, x).prev_sample
save(grid(model.decode(x), rows=10), "own_diffusers_loop.png")
