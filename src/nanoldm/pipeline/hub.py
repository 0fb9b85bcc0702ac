"""Models on the Hugging Face hub, by huggingface_hub."""

import re
from pathlib import Path

from nanoldm.utils.errors import InputError
from nanoldm.utils.text import one_line

PARTS = ["*.json", "*.jsonl", "*/*.json", "*/*.safetensors", "README.md", "pipeline.py"]


def is_hub_name(model: str | Path) -> bool:
    """Whether `model` looks like USER/NAME, and USER is not a folder here."""
    text = str(model)
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text)) and not Path(text).parent.exists()


def download(name: str, files: list[str]) -> Path:
    """The folder with a copy of the model USER/NAME: an earlier copy, or else a new one.

    files: those that a complete copy has. Raises InputError if there is no such model, or no
    network.
    """
    from huggingface_hub import snapshot_download

    for offline in (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=PARTS, local_files_only=offline))
        except Exception as error:  # the library raises many kinds
            if offline:
                continue
            raise InputError(f"there is no model or folder {name} here, and it cannot be read from "
                             f"the Hugging Face hub ({one_line(error)}): check the name and the "
                             "network") from None
        if all((folder / file).is_file() for file in files):
            return folder
    raise InputError(f"{name} on the Hugging Face hub is not a model of nanoldm: it lacks "
                     f"{next(file for file in files if not (folder / file).is_file())}")


def upload(folder: Path, name: str) -> str:
    """Copy an exported folder to the model USER/NAME of the hub: a new one is private.

    Returns its address. Raises InputError without permission or network.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        address = str(api.create_repo(name, private=True, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="nanoldm export")
    except Exception as error:  # the library raises many kinds
        raise InputError(f"{folder} could not be copied to {name} on the Hugging Face hub "
                         f"({one_line(error)}): log in with `hf auth login`, check the name and "
                         "the network") from None
    return address
