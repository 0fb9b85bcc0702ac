import pytest

from nanoldm.utils.seeding import seeded


@pytest.fixture(autouse=True)
def initial_weights():
    """Every network of these tests starts from the same weights."""
    with seeded(0):
        yield
