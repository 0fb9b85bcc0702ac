"""Models as ONNX files, for other runtimes (extra: nanoldm[onnx])."""

import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.parts import Decoder, Encoder
from nanoldm.utils.atomic import replacing
from nanoldm.utils.errors import InputError
from nanoldm.utils.text import one_line

OPSET = 20


def write_onnx(model: LatentDiffusion, folder: Path) -> list[Path]:
    """Write network.onnx, encoder.onnx and decoder.onnx to `folder` -> their paths.

    network: x_t (batch, tokens, channels), t (batch,) and, for models with labels, label (batch,),
        -1 for none -> output, what the model predicts (epsilon, v, ...).
    encoder: images -> latents. decoder: latents -> images, both normalised as in `encode`.
    Any batch size, float32, opset 20, one file each. Moves the model to the CPU.
    Raises InputError if the packages are missing, or if torch cannot export the network.
    """
    check_packages()
    model.to("cpu")
    latents, images = torch.zeros(2, *model.latent_shape), torch.zeros(2, *model.image_shape)
    inputs = {"x_t": latents, "t": torch.zeros(2, dtype=torch.long)}
    if model.denoiser.labels:
        inputs["label"] = torch.zeros(2, dtype=torch.long)
    parts = {"network": (model.denoiser.network, inputs, "output"),
             "encoder": (Encoder(model.autoencoder), {"images": images}, "latents"),
             "decoder": (Decoder(model.autoencoder), {"latents": latents}, "images")}
    written = []
    for name, (module, given, output) in parts.items():
        path = folder / f"{name}.onnx"
        with replacing(path) as temporary:
            export_module(module.eval(), given, output, temporary)
        written.append(path)
    return written


def check_packages() -> None:
    """Raise InputError if the packages that write ONNX files are missing."""
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise InputError(f"ONNX files need {' and '.join(missing)}: pip install 'nanoldm[onnx]'")


def export_module(module: nn.Module, inputs: Mapping[str, Tensor], output: str, path: Path) -> None:
    """Write one module. Raises InputError."""
    batch = torch.export.Dim("batch")
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # else a line for each folded constant
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            torch.onnx.export(module, tuple(inputs.values()), path, dynamo=True, verbose=False,
                              input_names=[*inputs], output_names=[output], opset_version=OPSET,
                              dynamic_shapes=tuple({0: batch} for _ in inputs),
                              external_data=False)
    except OSError:
        raise
    except Exception as error:  # torch has many
        raise InputError(f"torch cannot export the model as ONNX ({one_line(error)}): write its "
                         "forward without branches on values") from None
