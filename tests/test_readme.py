"""What README shows, done."""

import re
from pathlib import Path

from PIL import Image

from nanoldm.data import load

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(255 - load("mnist")[1].images[0, 0].numpy())
    photo.resize((200, 200)).save("photo.png")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        exec(block, names)
    assert names["digits"].shape == (20, 1, 28, 28)
    assert {"digits.png", "denoised.png"} <= {file.name for file in tmp_path.iterdir()}


def test_links_of_the_readme_lead_somewhere():
    headings = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
                for heading in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (Path(__file__).parents[1] / target).exists(), target
