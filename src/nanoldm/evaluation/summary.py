"""The main metrics of a model, stored in its folder."""

from pathlib import Path
from typing import Any

from nanoldm.pipeline.folders import EVALUATION, SUMMARY, find_model
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.files import weights_digest, write_json
from nanoldm.utils.paths import check_target


def check_saving(model: LatentDiffusion) -> None:
    """Raise InputError unless evaluation.json can be written."""
    check_target(find_model(model.name) / EVALUATION, ".json")


def save_summary(model: LatentDiffusion, report: dict[str, Any]) -> Path:
    """Write evaluation.json to the folder that `model` was loaded from -> its path.

    report: of `evaluate`.
    """
    path = find_model(model.name) / EVALUATION
    judged, found = report["judged"], report["metrics"]
    summary = {"network_sha256": weights_digest(model.denoiser.network),
               **{name: judged[name] for name in ("images", "sampler", "steps", "spacing")},
               "guidance": judged["guidance"], "data": report["data"]["name"],
               "metrics": {name: found[name] for name in SUMMARY if name in found}}
    write_json(path, summary)
    return path
