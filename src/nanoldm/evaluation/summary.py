"""The main metrics of a model, stored in its folder."""

from pathlib import Path
from typing import Any

from nanoldm.pipeline.folders import EVALUATION, find_model
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import weights_digest, write_json

SUMMARY = ("frechet_test", "coverage", "confidence")


def save_summary(model: LatentDiffusion, report: dict[str, Any]) -> Path:
    """Write evaluation.json to the folder that `model` was loaded from -> its path.

    report: of `evaluate`. Raises InputError for a folder that cannot be written to.
    """
    path = find_model(model.name) / EVALUATION
    judged, found = report["judged"], report["metrics"]
    summary = {"network_sha256": weights_digest(model.denoiser.network),
               **{name: judged[name] for name in ("images", "sampler", "steps", "spacing")},
               "guidance": judged["guidance"],
               "metrics": {name: found[name] for name in SUMMARY if name in found}}
    try:
        write_json(path, summary)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): export the model to a folder "
                         "of yours first") from None
    return path
