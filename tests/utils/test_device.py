"""What makes it fast leaves the mathematics alone."""

import shutil
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from nanoldm.data import load
from nanoldm.diffusion import Denoiser, DenoisingLoss
from nanoldm.diffusion.timesteps import random_timesteps
from nanoldm.models import transformer
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training import fit, make_optimizers
from nanoldm.training.batches import batch_indices
from nanoldm.utils import device
from nanoldm.utils.device import check_compiler, prepare_torch, use_onednn
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator

needs_compiler = pytest.mark.skipif(not shutil.which("g++"),
                                    reason="torch.compile needs a C++ compiler")


@pytest.fixture(autouse=True)
def plain_torch():
    """Every test starts with torch as it is by itself; later ones have it as it was before."""
    precision, tiny = torch.get_float32_matmul_precision(), torch.tensor(1e-40) * 1
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_flush_denormal(tiny.item() == 0)
    torch.set_float32_matmul_precision(precision)


def relative_error(product, exact):
    return ((product - exact).abs().max() / exact.abs().max()).item()


def test_after_it_products_are_float32_products():
    a, b = torch.randn(2, 300, 300, generator=torch.Generator().manual_seed(1))
    exact = a.double() @ b.double()
    # what the switch could have meant
    assert relative_error(a.bfloat16().double() @ b.bfloat16().double(), exact) > 1e-4
    prepare_torch("cpu")
    assert relative_error(a @ b, exact) < 1e-5


def test_a_processor_that_rounds_products_keeps_the_exact_library(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a,
                        b: a.bfloat16().mm(b.bfloat16()).to(a.dtype) if a.dtype == torch.float32
                        else a.mm(b))
    assert not use_onednn()
    assert torch.get_float32_matmul_precision() == "highest"


FAULTS = """
import resource, sys, torch
from nanoldm.utils.device import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
for turn in range(5):
    # the first must ask for memory in any case; after some turns glibc learns to keep it by itself
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(1_000_000) for _ in range(50)]
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")
def test_memory_that_tensors_leave_is_used_again():
    faults = {how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True,
                                      text=True, check=True).stdout) for how in ("return", "keep")}
    assert faults["return"] > 20_000                        # 200 MB are 50,000 pages
    assert faults["keep"] < faults["return"] / 5


@needs_compiler
@pytest.mark.slow
def test_200_steps_have_the_losses_of_the_plain_implementation(monkeypatch):
    """From trained weights: from random ones two runs differ after 60 steps even if only the
    number of threads differs.
    """
    model = LatentDiffusion.from_pretrained("mnist")
    latents = model.encode(to_float(load("mnist")[0].images[:800]))
    schedule = model.denoiser.schedule

    def batches():
        for step, index in batch_indices(len(latents), 8, seed=0):
            x0 = latents[index]
            stream = generator(0, 1, step)
            yield {"x0": x0, "t": random_timesteps(len(x0), schedule.timesteps, stream),
                   "eps": torch.randn(x0.shape, generator=stream)}

    def losses(compiled=False):
        loss = DenoisingLoss(Denoiser(deepcopy(model.denoiser.network), schedule))
        module = torch.compile(loss, fullgraph=True) if compiled else loss
        optimizers = make_optimizers("AdamW", loss, 1e-4)
        steps = fit(module, batches(), optimizers, steps=200, learning_rate=lambda step: 1e-4,
                    gradient_clip=1.0)
        return torch.stack([step.loss for step in steps])

    with monkeypatch.context() as patch:
        patch.setattr(transformer, "attention", F.scaled_dot_product_attention)
        plain = losses()
    assert plain.std() > 1e-3  # the batches differ, so that the comparison means something
    prepare_torch("cpu")
    torch.testing.assert_close(losses(), plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(losses(compiled=True), plain, rtol=0, atol=1e-4)


@needs_compiler
def test_without_a_compiler_compiling_is_an_error(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError,
                       match=r"compile needs a C\+\+ compiler and there is no no-such-compiler"):
        check_compiler("cpu")
    monkeypatch.setenv("CXX", "g++")
    check_compiler("cpu")

    def fail(function):
        raise RuntimeError("no headers")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(InputError,
                       match=r"compile does not work here \(no headers\): install a compiler for "
                       r"cpu, or leave compile out"):
        check_compiler("cpu")


def test_a_device_number_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match="device cuda:99 does not exist: choose auto or cuda"):
        prepare_torch("cuda:99")


def test_matrix_products_on_a_gpu_keep_their_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "use_onednn", lambda: pytest.fail("only for the CPU"))
    assert prepare_torch("cuda") == torch.device("cuda")


def test_tf32_is_a_setting_of_gpus_that_is_taken_back():
    owners = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [owner.allow_tf32 for owner in owners]
    for use in (True, False):
        device.use_tf32(torch.device("cuda"), use)
        assert [owner.allow_tf32 for owner in owners] == [use, use]
    for owner, use in zip(owners, before, strict=True):
        owner.allow_tf32 = use
    device.use_tf32(torch.device("cpu"), False)
    with pytest.raises(InputError, match="tf32 needs a CUDA GPU, and this is cpu: choose fp32"):
        device.use_tf32(torch.device("cpu"), True)


class StandIn:
    """A tensor that notes how it is copied."""

    def __init__(self, *calls):
        self.calls = calls

    def pin_memory(self):
        return StandIn(*self.calls, "pinned")

    def to(self, device, non_blocking=False):
        return StandIn(*self.calls, device.type, non_blocking)


def test_a_copy_to_a_gpu_does_not_wait():
    assert device.move(StandIn(), torch.device("cuda")).calls == ("pinned", "cuda", True)
    assert device.move(StandIn(), torch.device("cpu")).calls == ("cpu", False)


@pytest.mark.parametrize(("options", "message"),
                         [({"threads": 0}, "threads 0: choose a number from 1 to 1024"),
                          ({"threads": 10**11}, "from 1 to 1024"),
                          ({"device": "cpu:foo"}, "device cpu:foo does not exist")])
def test_what_torch_would_choke_on_is_an_error(options, message):
    with pytest.raises(InputError, match=message):
        prepare_torch(**options)
