"""Copy a trained model to a folder of its own, to share it."""

import tempfile
from pathlib import Path

from nanoldm.experiments.model_card import model_card
from nanoldm.pipeline.folders import (
    EVALUATION,
    FILES,
    METRICS_FILE,
    PLAN,
    RECIPE,
    SAMPLING,
    find_model,
)
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.saving import PIPELINE
from nanoldm.utils.atomic import replacing_folder
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_bytes, write_text
from nanoldm.utils.paths import check_folder, check_regular

# Files of a model besides its weights and configuration
OPTIONAL = (RECIPE, PLAN, METRICS_FILE, EVALUATION, SAMPLING, PIPELINE)


def export(run: str | Path, folder: Path, half: bool = False) -> bool:
    """Copy the model of a run to the new folder `folder`, with a model card -> whether it was new.

    half: round the weights to float16, which halves the files.
    False if the folder has this model already. Raises InputError for a folder with anything else.
    """
    source = find_model(run)
    content = files_of(source, half)
    if source.resolve() != folder.resolve() and all(
            has(folder / name, bytes_) for name, bytes_ in content.items()):
        return False
    if folder.exists():
        raise InputError(f"{folder} exists: give the name of a new folder")
    if source.resolve() in folder.resolve().parents:
        raise InputError(f"{folder} lies in the model's own folder: give a folder elsewhere")
    check_folder(folder)
    with replacing_folder(folder) as temporary:
        for name, bytes_ in content.items():
            write_bytes(temporary / name, bytes_)
        write_text(temporary / "README.md", model_card(temporary, folder.name))
    return True


def files_of(source: Path, half: bool) -> dict[str, bytes]:
    """{name: content} of the files of a model: only those, as its folder may contain others.

    Raises InputError for a damaged model.
    """
    model = LatentDiffusion.from_pretrained(source)
    names = [*FILES, *(name for name in OPTIONAL if (source / name).is_file())]
    for name in names:
        check_regular(source / name)
    content = {name: (source / name).read_bytes() for name in names}
    if half:
        with tempfile.TemporaryDirectory() as folder:
            model.halved().save_pretrained(folder)
            content |= {name: (Path(folder) / name).read_bytes() for name in FILES}
    return content


def has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
