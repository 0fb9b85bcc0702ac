"""A sampler of your own: any generator function with the signature of `ddpm`.

python examples/own_sampler.py
"""

from nanoldm import LatentDiffusion
from nanoldm.utils.images import captioned, grid, save


def euler(denoise, x_T, schedule, timesteps, noise):
    """The probability flow ODE by Euler steps, which is DDIM with eta 0."""
    x = x_T
    for t, s in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t, s = (x.new_tensor([level]).long() for level in (t, s))
        alpha_s, sigma_s = schedule(s)
        estimate = denoise(x, t)
        x = alpha_s * estimate.x0 + sigma_s * estimate.eps
        yield x, estimate


model = LatentDiffusion.from_pretrained("mnist-fast")
rows = {"own sampler, 20 steps": model.generate(16, sampler=euler, steps=20),
        "ddim, 20 steps": model.generate(16, sampler="ddim", steps=20),
        "own sampler, 6 timesteps": model.generate(16, sampler=euler,
                                                   timesteps=[99, 85, 70, 50, 30, 10])}
save(captioned([(caption, grid(images, 16)) for caption, images in rows.items()]),
     "own_sampler.png")
print("wrote own_sampler.png")
