"""The page as a file: what is in it, and what cannot become one."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import nanoldm.page
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.diffusion.samplers import SAMPLERS
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.page import write_page
from nanoldm.page.rows import rows_of
from nanoldm.pipeline.labels import parse_labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError

STATIC = Path(nanoldm.page.__file__).with_name("static")


def test_nothing_is_loaded_from_elsewhere_and_only_the_pages_own_script_may_run(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"https?://", text)
    assert not re.findall(r"\beval\(|new Function|innerHTML|document\.write", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'")
    assert "unsafe-inline" not in policy


def test_texts_of_a_model_cannot_end_the_element_they_stand_in(page, described, colourful):
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 5                     # those of index.html
    assert "<title>colour &lt;b&gt;" in text
    assert described["facts"] == [["a <b>", "</script><script>alert(1)</script>"]]
    assert [own["name"] for own in described["classes"]] == [*colourful.class_names.values()]


def test_each_class_has_its_option_as_one_word_of_a_shell(described, colourful):
    for own in described["classes"][:-1]:
        words = subprocess.run(["bash", "-c", f"printf '%s\\n' {own['option']}"],
                               capture_output=True, text=True).stdout
        assert words == f"--label={own['name']}\n"
        assert parse_labels(own["name"], colourful.class_names) == [own["number"]]


def test_a_class_that_no_option_names_has_none(described):
    """Its name means no label, and its number could be the name of another class."""
    assert described["classes"][-1] == {"number": 11, "name": "none", "option": None}


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(colourful, page, tmp_path):
    write_page(colourful, tmp_path / "again.html", {"a <b>": "</script><script>alert(1)</script>"})
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["cosine", "rectified"])
def test_rows_do_the_steps_of_their_sampler(name, kind):
    """On a denoiser that is not linear."""
    schedule = NoiseSchedule(kind, 40)
    if kind == "rectified" and name.startswith("ddpm"):
        return
    settings = Sampling(name, 9, "shifted").resolved(schedule)
    x = x_T = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    draws = torch.randn(200, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def denoise(x, t):
        from nanoldm.diffusion import Estimate
        alpha, sigma = (level[0] for level in schedule(t))
        return Estimate.from_x0((x * (1 + t / 50)).tanh(), x, alpha, sigma)

    noise, expected = iter(draws), []
    for state, estimate in settings.function()(denoise, x_T.clone(), schedule, settings.timesteps,
                                               lambda: next(noise)):
        expected.append((state.clone(), estimate.x0))
    noise, history, found = iter(draws), [], []
    for row in rows_of(settings, schedule):
        estimate = denoise(x, torch.tensor([row.t]))
        history.insert(0, (x, estimate.x0, estimate.eps))
        x = sum((factor * history[back][part] for part, factors in enumerate(row[2:5])
                 for back, factor in enumerate(factors)), torch.zeros(4, 6, dtype=torch.float64))
        x = x + sum(factor * next(noise) for factor in row.noise)
        if row.shown:
            found.append((x, history[row.shown - 1][1]))
    assert len(found) == len(expected)
    for (x, x0), (state, estimate) in zip(found, expected, strict=True):
        assert (x - state).abs().max() < 1e-5
        assert (x0 - estimate).abs().max() < 1e-5


def test_a_sampler_that_remembers_too_much_is_refused():
    def elephant(denoise, x_T, schedule, timesteps, noise):
        known, x = [], x_T
        for t in timesteps:
            known.append(denoise(x, torch.tensor([t])))
            x = sum(((k + 1) * len(known)) ** 0.5 * own.x0 for k, own in enumerate(known))
            yield x, known[-1]

    schedule = NoiseSchedule("cosine", 20)
    settings = Sampling(elephant, 9).resolved(schedule)
    with pytest.raises(InputError, match="the sampler elephant: its steps are not linear in the"):
        rows_of(settings, schedule)


def test_images_that_the_page_cannot_show_are_refused(tmp_path):
    autoencoder = ConvAE(image_size=512, levels=6)
    network = DiffusionNet(tokens=64, channels=6, width=16, depth=1, heads=2, hidden=16)
    model = LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule("cosine", 10)), 1.0)
    with pytest.raises(InputError, match="at most 256 x 256 pixels, and this model makes 1 x 512"):
        write_page(model, tmp_path / "page.html")
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_long_schedule_does_not_make_a_long_page(tmp_path):
    """1,000 timesteps: no table of all of them, and 50 noise levels."""
    autoencoder = ConvAE(image_size=8, levels=2)
    network = DiffusionNet(tokens=4, channels=6, width=16, depth=1, heads=2, hidden=16)
    model = LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule("cosine", 1000)), 1.0)
    write_page(model, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    content = json.loads(text.split('id="page">')[1].split("</script>")[0])
    assert len(text) < 700_000
    assert len(content["starts"]) == 50
    assert max(len(own["rows"]) for tables in content["samplers"].values()
               for own in tables.values()) < 150
    assert content["own"] == {"sampler": "ab3", "steps": 12}


@pytest.mark.skipif(not (shutil.which("clang") and shutil.which("wasm-ld")),
                    reason="clang and lld are not installed")
def test_the_kernels_are_those_of_their_source(tmp_path):
    text = (STATIC / "kernels.c").read_text()
    command = " ".join(re.findall(r"\*   (clang .*?)\\\n \*     (.*?)\n", text)[0])
    command = command.replace("kernels.wasm", str(tmp_path / "kernels.wasm"))
    subprocess.run(["bash", "-c", command], cwd=STATIC, check=True)
    assert (tmp_path / "kernels.wasm").read_bytes() == (STATIC / "kernels.wasm").read_bytes()
