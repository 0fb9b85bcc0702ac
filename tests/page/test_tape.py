"""What cannot become a tape."""

import pytest
import torch
from torch import nn

from nanoldm.page.tape import record
from nanoldm.utils.errors import InputError


class Altered(nn.Module):
    """x, changed by a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(("function", "message"), [
    (lambda x: x.sort(1).values, "the page has no operation sort, which the network uses"),
    (lambda x: x * (3 * x).long(), "no operation _to_copy to whole numbers"),
    (lambda x: x / len(x), "computes with the number of images"),
    (lambda x: x + torch.arange(len(x))[:, None], "depends on the number of images"),
    (lambda x: torch.cat([x, -x, x.sin()][:len(x) % 4], 1), "other operations for 3 images than"),
])
def test_what_the_page_cannot_compute_is_refused_by_name(function, message):
    with pytest.raises(InputError, match=message):
        record(Altered(function), lambda batch: {"x": torch.randn(batch, 4)}, "network")
