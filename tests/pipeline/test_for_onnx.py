"""ONNX files compute what the model computes, as onnxruntime sees it."""

import pytest
import torch

from nanoldm import LatentDiffusion
from nanoldm.pipeline import for_onnx
from nanoldm.utils.errors import InputError

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(nanoldm, animal_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "model"
    done = nanoldm("export", animal_run, folder, "--onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(".onnx") == 3
    return folder


def run(file, **inputs) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {k: v.numpy() for k, v in inputs.items()})[0])


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_the_three_files_compute_what_the_model_computes(exported, batch):
    model = LatentDiffusion.from_pretrained(exported)
    images, x = torch.rand(batch, *model.image_shape), model.noise(batch)
    t, label = torch.arange(batch) * 7, torch.arange(batch) % 2 - 1
    with torch.no_grad():
        expected = model.denoiser.network(x, t, label)
    assert (run(exported / "network.onnx", x_t=x, t=t, label=label) - expected).abs().max() < 2e-5
    assert (run(exported / "encoder.onnx", images=images) - model.encode(images)).abs().max() < 1e-4
    assert (run(exported / "decoder.onnx", latents=x) - model.decode(x)).abs().max() < 1e-5


@pytest.mark.slow
def test_the_batch_is_a_named_axis_and_each_file_is_whole(exported):
    for file in exported.glob("*.onnx"):
        model = onnx.load(file, load_external_data=False)
        assert model.opset_import[0].version == for_onnx.OPSET
        for value in [*model.graph.input, *model.graph.output]:
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert not any(part.external_data for part in model.graph.initializer)


def test_missing_packages_are_named_before_anything_is_written(nanoldm, animal_run, monkeypatch,
                                                               tmp_path):
    monkeypatch.setattr(for_onnx, "find_spec", lambda name: None)
    wrong = nanoldm("export", animal_run, tmp_path / "new", "--onnx")
    assert wrong.returncode == 2
    assert "ONNX files need onnx and onnxscript: pip install 'nanoldm[onnx]'" in wrong.stderr
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="ONNX files need"):
        for_onnx.check_packages()
