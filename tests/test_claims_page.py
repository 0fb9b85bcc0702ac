"""The page of the study of the design claims, written from made-up results."""

import json
import re
from pathlib import Path

import claims
import pytest
import torch
from claims_measures import encoded
from claims_page import Page, text
from claims_pictures import draw
from claims_study import Study, load_results, load_study

ROOT = Path(__file__).parents[1]
VARIANTS = ("", "raw", "ddpm", "raw-ddpm", "short", "raw-short")


def made_up(arm: str, seed: int) -> dict:
    """A result of an arm, with numbers that mean nothing."""
    value = 2 + len(arm) / 10 + seed / 7
    digits = encoded(torch.rand(8, 1, 28, 28))
    seen = {"distance": value, "noised": digits, "denoised": digits}
    return {"distances": {name: value + k / 9 + seed / 50 * k for k, name in enumerate(VARIANTS)},
            "rotation_frechet_train": value, "confidence": 0.9, "reconstruction": 0.3,
            "clipped": 0.25, "parameters": 1_353_734, "denoising_error": [value] * 12,
            "probe": [0.1, 0.9, 0.8, 0.7, 0.6], "first_loss": 1.001, "psnr": {"0.3": 20.0},
            "digits": digits, "steps": 2000, "diagnostic": {str(t): seen for t in (50, 75, 91)},
            "tracks": {str(step): {"raw": 9.0, "ema": 8.0} for step in (500, 1000, 1500)}
            | {"0.999": 12.0}}


@pytest.fixture
def study() -> Study:
    return load_study()


def first_tier(study: Study) -> dict:
    return {(name, seed): json.loads(json.dumps(made_up(name, seed)))
            for name, arm in study.arms.items() if arm.tier == 1 for seed in arm.seeds}


def test_the_page_has_every_claim_its_pictures_and_what_was_not_run(tmp_path, study):
    results = first_tier(study)
    results["axial", 2] = {"diverged": "axial diverged at step 3"}
    found = Page(study, results)
    draw(found, tmp_path / "claims")
    page = text(found)
    pictures = {path.name for path in (tmp_path / "claims").glob("*.png")}
    for name, claim in study.claims.items():
        assert f"## Claim {name}\n" in page
        assert claim.title in page
        assert f"claims/{name}.png" in page
    assert all(f"claims/{picture}" in page for picture in pictures)
    assert all(name in pictures for name in (f"{k}.png" for k in study.claims))
    assert f"- Diverged: {study.arms['axial'].title} (seed 2)." in page
    assert f"{study.arms['reference-long'].title} (seed 0)" in page.split("- Not run: ")[1]
    assert not re.search(r"\bnan\b", page)


def test_the_page_and_readme_have_what_the_results_give(study):
    found = text(Page(study, load_results()))
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == found, (
        "python benchmarks/claims.py page")
    rows = re.findall(r"^\| \d \| .*$", found, re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in readme if re.match(r"\| \d \| ", line)]
    assert shown == [re.sub(r"\[([^]]*)\]\(#claim-\d\)", r"\1", row) for row in rows]


def test_a_study_of_too_few_runs_is_refused_in_one_line(tmp_path):
    results, docs = tmp_path / "claims.jsonl", tmp_path / "docs"
    results.write_text(json.dumps(made_up("reference", 0) | {"arm": "reference", "seed": 0}))
    docs.mkdir()
    with pytest.raises(SystemExit, match="several seeds are needed: run more"):
        claims.page(results, docs)
    assert not list(docs.iterdir())
