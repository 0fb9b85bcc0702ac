"""Adams-Bashforth weights, and samplers that cannot start from pure noise."""


import pytest
import torch

from nanoldm.diffusion import NoiseSchedule, ddpm
from nanoldm.diffusion.samplers.multistep import WEIGHTS
from nanoldm.utils.errors import InputError

RECTIFIED = NoiseSchedule("rectified", 100)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_adams_bashforth_weights_integrate_polynomials_below_their_order_exactly(order):
    """Over the step from 0 to 1, a slope s^k known at 0, -1, -2, ... has the integral 1 / (k + 1).
    """
    for k in range(order):
        found = sum(weight * (-j) ** k for j, weight in enumerate(WEIGHTS[order - 1]))
        assert found == pytest.approx(1 / (k + 1))


def test_ddpm_explains_why_it_cannot_leave_pure_noise():
    with pytest.raises(InputError, match="alpha, which is 0 at timestep 99"):
        next(ddpm(None, torch.zeros(1, 2), RECTIFIED, [99], None))
