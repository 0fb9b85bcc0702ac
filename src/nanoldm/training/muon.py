"""Muon: orthogonalised momentum for weight matrices (Jordan et al. 2024).

kellerjordan.github.io/posts/muon
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTUM, ITERATIONS, NEWTON_SCHULZ = 0.95, 5, (3.4445, -4.7750, 2.0315)  # the author's
WEIGHT_DECAY = 0.01  # the default of AdamW


def orthogonalised(matrices: Tensor, precision: str = "fp32") -> Tensor:
    """(N, rows, columns) -> about U V^T for each matrix U S V^T: singular values 0.7 ... 1.2.

    The Newton-Schulz iteration, ITERATIONS times:

        G = X X^T        X <- (a I + b G + c G^2) X

    precision: of the products, "fp32" or "bf16", with which the author of Muon trains.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices                             # the smaller X X^T
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = iterate(x.bfloat16()).float() if precision == "bf16" else iterate_gram(x)
    return x.mT if tall else x


def iterate(x: Tensor) -> Tensor:
    """The iteration as it is written."""
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def iterate_gram(x: Tensor) -> Tensor:
    """The same with half the multiplications, for a matrix four times as long as wide.

    All factors p = a I + b G + c G^2 are polynomials of the first G and commute. So the loop
    iterates G <- p^2 G alone, and X is multiplied once, by the product of all p. In bfloat16, G
    would lose small singular values.
    """
    a, b, c = NEWTON_SCHULZ
    gram, product = x @ x.mT, None
    for k in range(ITERATIONS):
        factor = b * gram + c * gram @ gram
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if k < ITERATIONS - 1:
            gram = factor @ (factor @ gram)
    return product @ x


class Muon(torch.optim.Optimizer):
    """Muon for weight matrices.

        M <- momentum M + (1 - momentum) G
        W <- W - rate (0.2 sqrt(max(rows, columns)) orthogonalised(Nesterov's M) + decay W)

    The factor gives the update the usual size of AdamW's (Liu et al. 2025, arXiv 2502.16982, eq.
    4). torch.optim.Muon is the same in bfloat16, which is slow on most CPUs.
    precision: an attribute, "fp32" or "bf16", of the products in `orthogonalised`.
    """

    def __init__(self, matrices: Sequence[Tensor], lr: float):
        super().__init__(matrices, {"lr": lr, "weight_decay": WEIGHT_DECAY})
        self.precision = "fp32"

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # torch.optim passes one
        (group,) = self.param_groups
        parameters = [p for p in group["params"] if p.grad is not None]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients = [p.grad for p in parameters]
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        updates = list(torch._foreach_lerp(gradients, momenta, MOMENTUM))     # Nesterov
        for shape in {u.shape for u in updates}:  # all matrices of one shape in one product
            same = [k for k, u in enumerate(updates) if u.shape == shape]
            found = orthogonalised(torch.stack([updates[k] for k in same]), self.precision)
            for k, update in zip(same, found * (0.2 * max(shape) ** 0.5), strict=True):
                updates[k] = update
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def make_optimizers(name: str, module: nn.Module, lr: float,
                    matrices: Sequence[Tensor] = ()) -> list[torch.optim.Optimizer]:
    """Adam or AdamW for all parameters; or "Muon" for `matrices` and AdamW for the others."""
    parameters = list(module.parameters())
    if name != "Muon":
        return [getattr(torch.optim, name)(parameters, lr=lr, fused=True)]
    own = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in own]
    optimizers: list[torch.optim.Optimizer] = [Muon(matrices, lr)]
    if others:
        adamw = torch.optim.AdamW(others, lr=lr, weight_decay=WEIGHT_DECAY, fused=True)
        optimizers.append(adamw)
    return optimizers
