"""The page as people use it, in headless Chromium and without a network."""

import importlib.util
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch

from nanoldm.page import write_page
from nanoldm.utils.images import to_bytes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (Debian: chromium)"),
    pytest.mark.skipif(not importlib.util.find_spec("playwright"),
                       reason="playwright is not installed"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PIXELS = """canvas => { const { width, height } = canvas
    return [width, height, ...canvas.getContext("2d").getImageData(0, 0, width, height).data] }"""
TASKS = """() => { window.longest = 0; new PerformanceObserver(list => { for (const entry of
    list.getEntries()) window.longest = Math.max(window.longest, entry.duration) })
    .observe({ entryTypes: ["longtask"] }) }"""


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """visit(file, ...) opens a page offline and waits until its first images are finished. At the
    end, nothing must have been written to the console."""
    faults, contexts = [], []

    def open_page(file, hash_="", **options):
        options = {"viewport": {"width": 1200, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        context.on("request", lambda request: request.url.startswith(("file:", "blob:"))
                   or faults.append(request.url))
        tab = context.new_page()
        tab.on("console", lambda message: "willReadFrequently" in message.text  # of these tests
               or faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(file.as_uri() + hash_)
        finished(tab)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def finished(tab):
    tab.wait_for_selector('#grid[aria-busy="false"]', timeout=60_000)


def pixels(tab, selector: str) -> np.ndarray:
    """(height, width, 3) of a canvas."""
    width, height, *data = tab.locator(selector).evaluate(PIXELS)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def cut(sheet: np.ndarray, size: int) -> np.ndarray:
    """A grid -> its images (N, size, size, 3)."""
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    return sheet.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)


def draw_line(tab, *shares: float) -> None:
    """A stroke of the mouse from top to bottom, at a share of the width."""
    tab.locator("#canvas").scroll_into_view_if_needed()
    box = tab.locator("#canvas").bounding_box()
    for share in shares:
        x = box["x"] + share * box["width"]
        tab.mouse.move(x, box["y"] + 0.15 * box["height"])
        tab.mouse.down()
        tab.mouse.move(x, box["y"] + 0.85 * box["height"], steps=12)
        tab.mouse.up()


def test_seeds_and_classes_give_the_images_of_python(visit, page, colourful):
    """12 classes with odd names, RGB; and the file is opened from disk without a network."""
    tab, model = visit(page), colourful.use_rng("portable")
    expected = to_bytes(model.generate(16)).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(cut(pixels(tab, "#grid"), 20) - expected).max() <= 1
    names = tab.locator("#classes button").all_text_contents()
    assert names == ["any", *model.class_names.values(), "none"]
    tab.get_by_role("button", name="<script>", exact=True).click()
    tab.locator("#seed").fill("40")
    tab.locator("#seed").press("Enter")
    tab.locator("#sampler").select_option("ddpm")
    tab.locator("#steps").select_option("12")
    tab.wait_for_selector('#generate-command:text("--sampler ddpm --steps 12")')
    finished(tab)
    expected = model.generate(range(40, 56), 0, sampler="ddpm", steps=12, spacing="shifted")
    expected = to_bytes(expected).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(cut(pixels(tab, "#grid"), 20) - expected).max() <= 1
    assert tab.locator("#facts dd").all_text_contents() == ["</script><script>alert(1)</script>"]


def test_a_person_generates_scrubs_draws_erases_and_looks_inside(visit, page):
    tab = visit(page)
    last = pixels(tab, "#grid")
    tab.locator("#timeline").fill("1")
    assert tab.locator("#grid-caption").text_content() == "step 1 of 6, from t = 59"
    assert not np.array_equal(pixels(tab, "#grid"), last)
    tab.get_by_role("button", name="x_t", exact=True).click()
    tab.get_by_role("button", name="Step", exact=True).click()
    assert tab.locator("#grid-caption").text_content().startswith("step 2 of 6")

    tab.get_by_role("button", name="Clear").click()
    assert not pixels(tab, "#canvas").any()
    draw_line(tab, 0.3, 0.6)
    drawn = pixels(tab, "#canvas")
    assert (drawn > 150).all(-1).sum() > 20
    tab.wait_for_selector('#results[aria-busy="false"]')
    before = pixels(tab, "#results")
    tab.get_by_role("button", name="Hide: the model fills it in").click()
    draw_line(tab, *np.linspace(0.5, 0.95, 8))
    tab.wait_for_selector('#results-caption:text("filled in 8 times")')
    tab.wait_for_selector('#results[aria-busy="false"]')
    filled, mask = cut(pixels(tab, "#results"), 20), pixels(tab, "#canvas") == 128
    assert mask.any()
    assert not np.array_equal(pixels(tab, "#results"), before)
    assert np.array_equal(filled[0][~mask], drawn[~mask])             # known pixels stay
    assert not np.array_equal(filled[0][mask], filled[1][mask])       # the others differ by seed

    tab.locator("#inside summary").click()
    tab.wait_for_selector('#gates-caption:text("2 blocks")')
    before = tab.locator("#attention-caption").text_content()
    tab.locator("#tokens").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#attention-caption").text_content() != before


def test_two_ends_meet_at_their_own_images(visit, page):
    tab = visit(page)
    tab.wait_for_timeout(2000)
    for share, end in (("0", "#end-a"), ("100", "#end-b")):
        tab.locator("#share").fill(share)
        tab.wait_for_timeout(1000)
        assert np.array_equal(pixels(tab, "#between"), pixels(tab, end))


def test_everything_works_by_keyboard_and_at_320_pixels(visit, page):
    tab = visit(page, viewport={"width": 320, "height": 700}, color_scheme="dark")
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 320
    tab.get_by_role("button", name="Clear").focus()
    tab.keyboard.press("Enter")
    tab.locator("#canvas").focus()
    for key in (" ", "ArrowDown", " ", "ArrowDown", " "):
        tab.keyboard.press(key)
    tab.locator("#noise").focus()
    assert (pixels(tab, "#canvas") > 150).any()
    reached = set()
    tab.keyboard.press("Home")
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("() => document.activeElement.id"))
    assert {"share", "seed-a", "take-b", "copy-between"} <= reached
    small = tab.evaluate("""() => [...document.querySelectorAll("button, select, input")]
        .filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).map(e => e.id)""")
    assert small == []


def test_a_model_of_light_images_has_dark_ink_on_white(visit, tiny_pipeline, tmp_path):
    model = deepcopy(tiny_pipeline)
    model.name = "light"
    with torch.no_grad():
        model.autoencoder.decoder[-1].bias += 6
    write_page(model, tmp_path / "light.html", {})
    tab = visit(tmp_path / "light.html")
    tab.get_by_role("button", name="Clear").click()
    assert (pixels(tab, "#canvas") == 255).all()
    draw_line(tab, 0.5)
    assert (pixels(tab, "#canvas") < 100).all(-1).sum() > 20
    tab.get_by_role("button", name="Eraser").click()
    draw_line(tab, 0.5)
    assert (pixels(tab, "#canvas") < 100).sum() == 0


def test_a_finger_draws(visit, page):
    tab = visit(page, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    tab.get_by_role("button", name="Clear").tap()
    tab.locator("#canvas").scroll_into_view_if_needed()
    box = tab.locator("#canvas").bounding_box()
    tab.touchscreen.tap(box["x"] + 0.3 * box["width"], box["y"] + 0.7 * box["height"])
    row, column = np.argwhere(pixels(tab, "#canvas").max(-1) > 100).mean(0)
    assert abs(column - 6) < 1.5
    assert abs(row - 14) < 1.5


def test_reduced_motion_shows_the_finished_images_at_once(visit, page):
    tab = visit(page, reduced_motion="reduce")
    assert tab.locator("#timeline").input_value() == "6"


def test_without_webassembly_the_page_says_so_and_computes_the_same(visit, page):
    images = pixels(visit(page), "#grid").astype(int)
    tab = visit(page, "#plain")
    assert "Slower here, in plain JavaScript" in tab.locator("#status").text_content()
    assert np.abs(pixels(tab, "#grid") - images).max() <= 1


def test_a_slider_that_moves_while_images_are_made_never_blocks_the_page(visit, page):
    tab = visit(page)
    tab.evaluate(TASKS)
    tab.get_by_role("button", name="New images").click()
    for k in range(40):
        tab.locator("#noise").fill(str(k))
    tab.wait_for_timeout(500)
    assert tab.evaluate("() => window.longest") < 100


def test_digits_on_demand(visit, nanoldm, tmp_path):
    """The bundled model: the classifier reads from the canvas what the button says."""
    from nanoldm.evaluation import metrics
    from nanoldm.evaluation.features import load_features

    done = nanoldm("page", "--out", tmp_path / "digits.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digits.html").stat().st_size < 6e6
    tab = visit(tmp_path / "digits.html")
    tab.get_by_role("button", name="7", exact=True).click()
    tab.wait_for_selector('#generate-command:text("--label=7")')
    finished(tab)
    images = cut(pixels(tab, "#grid"), 28)[:, None, :, :, 0]
    network = load_features("digits-v1").networks["classifier"]
    labels = metrics.extract(network, torch.from_numpy(images.copy()))[1].argmax(1)
    assert (labels == 7).sum() >= 13                                # 14: as in Python
    command = tab.locator("#generate-command").text_content().split()[1:]
    npz = tmp_path / "same.npz"
    same = nanoldm(*command, "--npz", npz, "--out", tmp_path / "same.png")
    assert same.returncode == 0, same.stderr
    assert np.abs(np.load(npz)["images"].astype(int) - images[:, 0]).max() <= 1
