"""Muon: orthogonalised momentum for weight matrices (Jordan et al. 2024).

kellerjordan.github.io/posts/muon
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTUM, NEWTON_SCHULZ = 0.95, (3.4445, -4.7750, 2.0315)  # as its author recommends
BETAS, EPS, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01  # of AdamW; the defaults of torch


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """(N, rows, columns) -> about U V^T for each matrix U S V^T: singular values 0.7 ... 1.2.

    The Newton-Schulz iteration X <- p(X X^T) X with p(G) = a + b G + c G^2, in float32. All factors
    are polynomials of the first G = X X^T and commute: G itself is iterated, G <- p(G)^2 G, and X
    is multiplied once, by the product of all p(G). This halves the multiplications for a matrix
    four times as long as wide.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices                             # the smaller X X^T
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    square, product = x @ x.mT, None
    for k in range(steps):
        factor = b * square + c * square @ square
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if k < steps - 1:
            square = factor @ (factor @ square)
    x = product @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for weight matrices, AdamW for all other parameters, with one learning rate.

        M <- momentum M + (1 - momentum) G
        W <- W - rate (0.2 sqrt(max(rows, columns)) orthogonalised(Nesterov's M) + decay W)

    The factor gives the update the usual size of AdamW's (Liu et al. 2025, arXiv 2502.16982, eq. 4).
    torch.optim.Muon is the same in bfloat16, which is slow and coarse on a CPU.
    matrices: the parameters for Muon; parameters: all of them.
    """

    def __init__(self, matrices: Sequence[Tensor], parameters: Sequence[Tensor], lr: float):
        own = {id(p) for p in matrices}
        others = [p for p in parameters if id(p) not in own]
        groups = [{"params": list(matrices), "muon": True}, {"params": others, "muon": False}]
        super().__init__(groups, {"lr": lr, "weight_decay": WEIGHT_DECAY})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:         # torch.optim hands one on
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            updates = self.muon(parameters) if group["muon"] else self.adam(parameters)
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def muon(self, parameters: list[Tensor]) -> list[Tensor]:
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients, momenta = [p.grad for p in parameters], [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        updates = list(torch._foreach_lerp(gradients, momenta, MOMENTUM))                     # Nesterov
        for shape in {u.shape for u in updates}:                                              # all of one shape in one product
            same = [k for k, u in enumerate(updates) if u.shape == shape]
            found = orthogonalised(torch.stack([updates[k] for k in same])) * (0.2 * max(shape) ** 0.5)
            for k, update in zip(same, found, strict=True):
                updates[k] = update
        return updates

    def adam(self, parameters: list[Tensor]) -> list[Tensor]:
        """Kingma and Ba 2014, arXiv 1412.6980, algorithm 1."""
        for p in parameters:
            if not self.state[p]:
                self.state[p].update(step=torch.zeros(()), mean=torch.zeros_like(p), square=torch.zeros_like(p))
        states, gradients = [self.state[p] for p in parameters], [p.grad for p in parameters]
        means, squares, steps = ([state[name] for state in states] for name in ("mean", "square", "step"))
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(means, gradients, 1 - BETAS[0])
        torch._foreach_mul_(squares, BETAS[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETAS[1])
        k = steps[0].item()                                                                   # the same for all
        scales = torch._foreach_sqrt(torch._foreach_div(squares, 1 - BETAS[1] ** k))
        torch._foreach_add_(scales, EPS)
        return list(torch._foreach_div(torch._foreach_div(means, 1 - BETAS[0] ** k), scales))


def state_names(optimizer: torch.optim.Optimizer) -> list[tuple[Tensor, tuple[str, ...]]]:
    """(parameter, names of its optimiser state after a step), in the order of the state_dict."""
    adam, own = ("step", "exp_avg", "exp_avg_sq"), ("step", "mean", "square")
    return [
        (p, adam if "muon" not in group else ("momentum",) if group["muon"] else own)
        for group in optimizer.param_groups
        for p in group["params"]
    ]


def make_optimizer(
    name: str, module: nn.Module, lr: float, matrices: Sequence[Tensor] = ()
) -> torch.optim.Optimizer:
    """Adam, AdamW or Muon for all parameters of `module`. matrices: those that Muon treats."""
    if name == "Muon":
        return Muon(matrices, list(module.parameters()), lr)
    return getattr(torch.optim, name)(module.parameters(), lr=lr, fused=True)
