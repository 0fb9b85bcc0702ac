"""What makes it fast leaves the mathematics alone."""

import resource
import shutil

import pytest
import torch
from torch.nn import functional as F

from nanoldm import device
from nanoldm.data import load
from nanoldm.device import check_compiler, keep_freed_memory, prepare_torch, use_onednn
from nanoldm.errors import InputError
from nanoldm.models import transformer
from nanoldm.pipeline import LatentDiffusion
from nanoldm.recipes import RECIPES
from nanoldm.stages import denoiser_stage, encode


@pytest.fixture(autouse=True)
def plain_torch():
    """Every test starts and ends with torch as it is by itself."""
    yield
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")


def relative_error(product, exact):
    return ((product - exact).abs().max() / exact.abs().max()).item()


def test_after_it_products_are_float32_products():
    a, b = torch.randn(2, 300, 300, generator=torch.Generator().manual_seed(1))
    exact = a.double() @ b.double()
    assert relative_error(a.bfloat16().double() @ b.bfloat16().double(), exact) > 1e-4      # what the switch could have meant
    prepare_torch("cpu")
    assert relative_error(a @ b, exact) < 1e-5


def test_a_processor_that_rounds_products_keeps_the_exact_library(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: a.bfloat16().mm(b.bfloat16()).to(a.dtype) if a.dtype == torch.float32
                        else a.mm(b))
    assert not use_onednn()
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF") or not shutil.which("ldd"), reason="glibc")
def test_memory_that_a_tensor_leaves_is_used_again():
    keep_freed_memory()

    def page_faults(count=20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            torch.ones(1_000_000)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / count

    page_faults(3)
    assert page_faults() < 100                              # 4 MB are 1,000 pages


def test_200_steps_have_the_losses_of_the_plain_implementation(monkeypatch):
    """From trained weights: from random ones two runs part after 60 steps even if only the number of threads differs."""
    model = LatentDiffusion.from_pretrained("mnist")
    latents = encode(model.autoencoder, load("mnist")[0].images[:800])
    recipe = RECIPES["mnist"]().replace(training={"batch_size": 8, "learning_rate": 1e-4})

    def losses(**options):
        stage = denoiser_stage(recipe, latents, **options)
        stage.loss_module.denoiser.network.load_state_dict(model.denoiser.network.state_dict())
        return torch.stack([step.loss for step in stage.run(200)])

    with monkeypatch.context() as patch:
        patch.setattr(transformer, "attention", F.scaled_dot_product_attention)
        plain = losses()
    assert plain.std() > 1e-3                               # the batches differ, so that the comparison means something
    prepare_torch("cpu")
    torch.testing.assert_close(losses(), plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(losses(compiled=True), plain, rtol=0, atol=1e-4)


def test_without_a_compiler_compiling_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"--compile needs a C\+\+ compiler and there is no no-such-compiler"):
        check_compiler("cpu")
    monkeypatch.setenv("CXX", "true")
    check_compiler("cpu")
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compiler("cuda")                                  # there torch brings its own


def test_matrix_products_on_a_gpu_keep_their_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "use_onednn", lambda: pytest.fail("only for the CPU"))
    assert prepare_torch("cuda") == torch.device("cuda")
