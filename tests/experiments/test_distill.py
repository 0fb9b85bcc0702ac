"""A student: from the command line and from Python, resumed, and as a model like any other."""

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from nanoldm import LatentDiffusion, distill
from nanoldm.data.npz import read_npz
from nanoldm.diffusion import DistillationLoss
from nanoldm.evaluation.samples import SampleSet, seconds
from nanoldm.experiments import train_student
from nanoldm.experiments.distill import TRAINING
from nanoldm.experiments.previews import SEEDS
from nanoldm.experiments.run import Run
from nanoldm.experiments.run_checks import read_recipe
from nanoldm.experiments.stages import teacher_settings
from nanoldm.page.describe import describe
from nanoldm.page.tables import tables_of
from nanoldm.pipeline.folders import RunFolder
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import file_digest, load_tensors
from nanoldm.utils.images import grid

PASSES, STEPS, HELD_OUT = 2, 60, 32


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few images to test on, and a learning rate for a network that learns in few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_student, "HELD_OUT", HELD_OUT)
        patch.setitem(TRAINING, "learning_rate", 2e-2)
        yield


@pytest.fixture(scope="module")
def teacher(nanoldm, tiny_options):
    trained = nanoldm("train", "mnist-conditional", *tiny_options, "--steps", 300, "--out",
                      "teacher", "--training.optimizer", "Muon", "--training.learning_rate", 8e-3)
    assert trained.returncode == 0, trained.stderr
    return nanoldm.folder / "teacher"


@pytest.fixture(scope="module")
def options(teacher):
    return ["distill", teacher, "--passes", PASSES, "--pairs", 256, "--steps", STEPS, "--threads",
            1]


@pytest.fixture(scope="module")
def run(nanoldm, options):
    done = nanoldm(*options, "--out", "student")
    assert done.returncode == 0, done.stderr
    return nanoldm.folder / "student"


@pytest.fixture
def model(run) -> LatentDiffusion:
    return LatentDiffusion.from_pretrained(run)


def test_a_student_comes_nearer_to_its_teacher(run, teacher):
    pairs, _ = load_tensors(RunFolder(run).checkpoint("pairs"))
    x_T, x0, labels = (pairs[name][:-HELD_OUT] for name in ("x_T", "x0", "labels"))
    few, own = (DistillationLoss(LatentDiffusion.from_pretrained(folder).denoiser, (99, 86))(
        x_T, x0, labels).item() for folder in (teacher, run))
    assert own < 0.8 * few


def test_a_student_calls_its_network_so_often(model):
    calls = []
    model.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    model.generate(3)
    assert len(calls) == PASSES == model.settings.nfe(model.denoiser.schedule)


def test_python_and_the_shell_make_the_same_student(run, teacher, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as --threads 1
    made = distill(teacher, PASSES, tmp_path / "run", pairs=256, steps=STEPS, device="cpu")
    torch.set_num_threads(threads)
    files = [RunFolder(folder).checkpoint("denoiser") for folder in (run, made.folder.path)]
    assert file_digest(files[0]) == file_digest(files[1])


def test_a_stopped_run_is_continued_to_the_same_weights(nanoldm, options, run, tmp_path,
                                                        monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("nanoldm.experiments.run_stage.Interruption", Stop)
        assert nanoldm(*options, "--out", tmp_path / "run").returncode == 130
    monkeypatch.setattr(train_student, "make_pairs", None)  # the images of the teacher are there
    done = nanoldm(*options, "--out", tmp_path / "run")
    assert "continuing from step 1" in done.stdout, done.stderr
    files = [RunFolder(folder).checkpoint("denoiser") for folder in (run, tmp_path / "run")]
    assert file_digest(files[0]) == file_digest(files[1])
    assert "nothing to do" in nanoldm(*options, "--out", tmp_path / "run").stdout


class Stop:
    """An interruption at the first step that is logged after step 1."""

    def __init__(self):
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __bool__(self):
        self.asked += 1
        return self.asked > 10


@pytest.mark.slow
def test_the_recipe_of_a_student_trains_it_too(nanoldm, run, tmp_path):
    done = nanoldm("train", run / "recipe.json", "--threads", 1, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    files = [RunFolder(folder).checkpoint("denoiser") for folder in (run, tmp_path / "again")]
    assert file_digest(files[0]) == file_digest(files[1])


def test_other_settings_and_starts_need_the_teacher(nanoldm, run, model):
    for wrong in (["--steps", 3], ["--sampler", "ddpm"], ["--spacing", "log-snr"],
                  ["--sampler", "ddim", "--eta", 1]):
        done = nanoldm("sample", run, *wrong)
        assert done.returncode == 2
        assert "this model is a student: it knows ddim at the timesteps 99, 86" in done.stderr
    for command in (["denoise", run], ["invert", run, "test:0"]):
        done = nanoldm(*command)
        assert (done.returncode, "teacher" in done.stderr) == (2, True), done.stderr
    assert model.choose(start=86).timesteps == (86,)
    assert model.choose(guidance=2, clamp=True).timesteps == (99, 86)
    assert not model.choose(clamp=True).clamp
    with pytest.raises(InputError, match="use its teacher"):
        model.choose(start=50)


@pytest.mark.slow
def test_commands_take_a_student(nanoldm, run, tiny_features):
    assert "2 steps of ddim, shifted spacing, no others (a student)" in nanoldm("info", run).stdout
    found = nanoldm("sample", run, "--n", 4, "--label", "3", "--npz", "four.npz")
    assert found.returncode == 0, found.stderr
    assert read_npz(nanoldm.folder / "four.npz", "images", "labels")["labels"].tolist() == [3] * 4
    judged = nanoldm("evaluate", run, "--n", 200, "--features", tiny_features, "--weak-features",
                     "--out", "judged")
    assert judged.returncode == 0, judged.stderr
    report = json.loads((nanoldm.folder / "judged" / "report.json").read_text())
    assert report["judged"]["nfe"] == PASSES
    assert "denoising_error" not in report
    checked = nanoldm("doctor", run, "--features", tiny_features, "--weak-features")
    assert "sample from noise" in checked.stdout
    assert "denoise from" not in checked.stdout
    assert nanoldm("export", run, "exported").returncode == 0
    copied = LatentDiffusion.from_pretrained(nanoldm.folder / "exported")
    assert torch.equal(copied.generate(2), LatentDiffusion.from_pretrained(run).generate(2))
    assert copied.student
    with pytest.raises(InputError, match="no scheduler of diffusers knows"):
        DiffusionPipeline.from_pretrained(nanoldm.folder / "exported", trust_remote_code=True)()


@pytest.mark.slow
def test_edits_take_the_passes_of_a_student(nanoldm, run):
    assert nanoldm("sample", run, "--n", 1, "--out", "photo.png").returncode == 0
    for command in (["img2img", run, "photo.png", "--t", 86, "--no-fit"],
                    ["inpaint", run, "photo.png", "--mask", "right"],
                    ["interpolate", run, "--seeds", "3,7", "--frames", 3]):
        done = nanoldm(*command, "--out", "edited.png")
        assert done.returncode == 0, done.stderr
    for command in (["vary", run, "test:0"],
                    ["invert", run, "test:0", "--steps", 2, "--spacing", "shifted"]):
        done = nanoldm(*command)
        assert (done.returncode, "use its teacher" in done.stderr) == (2, True), done.stderr


def test_a_teacher_whose_own_sampler_adds_noise_generates_without(run, teacher):
    assert LatentDiffusion.from_pretrained(teacher).settings.sampler == "ddpm"
    used = read_recipe(RunFolder(run).recipe).distillation.sampling
    assert (used.sampler, used.steps) == ("ab3", 12)


def test_a_recipe_of_a_student_has_few_steps_of_ddim(run):
    recipe = read_recipe(RunFolder(run).recipe)
    for wrong in ({"sampler": "ab3"}, {"steps": 9}, {"steps": None}):
        with pytest.raises(InputError, match="a student samples with 1 to 8 steps of ddim"):
            recipe.replace(sampling=wrong)


def test_an_epoch_of_a_student_is_all_its_pairs(run, tmp_path):
    epochs = {"steps": None, "epochs": 3, "batch_size": 64}
    started = Run(tmp_path / "run", read_recipe(RunFolder(run).recipe).replace(training=epochs))
    started.prepare()
    assert started.new_plan(started.build_stages()).denoiser_steps == 3 * 256 // 64


def test_previews_compare_images_of_the_same_noise(run, teacher):
    recipe, model = read_recipe(RunFolder(run).recipe), LatentDiffusion.from_pretrained(teacher)
    settings = teacher_settings(recipe, model.denoiser.schedule)
    theirs = grid(model.generate(SEEDS, settings=settings)).convert("L")
    sheet = Image.open(max(RunFolder(run).samples.glob("step-*.png"))).convert("L")
    assert sheet.crop((0, 24, theirs.width, 24 + theirs.height)).tobytes() == theirs.tobytes()


def test_the_page_of_a_student_offers_what_it_knows(nanoldm, run, model):
    tables = tables_of(model)
    assert list(tables["samplers"]) == ["ddim"]
    assert [start["t"] for start in tables["starts"]] == [86, 99]
    assert tables["inversion"] is None
    assert describe(model, "student", {})[0]["clamp"] is None
    assert nanoldm("page", run, "--out", "student.html").returncode == 0


def test_the_time_of_an_evaluation_is_estimated(model, tmp_path):
    samples = SampleSet(model, tmp_path / "samples.npz", range(10))
    assert 0 < seconds([samples]) < 60


def test_wrong_teachers_are_named(nanoldm, options, run, teacher, tmp_path, trained_run):
    for model, reason in ((run, "is a student: distill its teacher"),
                          (trained_run, "predicts epsilon")):
        done = nanoldm("distill", model, "--out", "wrong")
        assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    bare = shutil.copytree(teacher / "model", tmp_path / "bare")
    (bare / "recipe.json").unlink()
    assert "recipe.json is missing" in nanoldm("distill", bare, "--out", "wrong").stderr
    for wrong in (["--passes", 0], ["--passes", 9], ["--pairs", 0], ["--guidance", -1]):
        done = nanoldm(*options, *wrong, "--out", "wrong")
        assert done.returncode == 2, done.stdout
    assert not (nanoldm.folder / "wrong").exists()


@pytest.mark.slow
def test_a_teacher_that_has_changed_is_noticed(options, teacher, tmp_path, nanoldm):
    copy = shutil.copytree(teacher, tmp_path / "teacher")
    command = ["distill", copy, *options[2:], "--out", tmp_path / "run"]
    assert nanoldm(*command).returncode == 0
    changed = LatentDiffusion.from_pretrained(copy)
    with torch.no_grad():
        next(changed.denoiser.network.parameters()).add_(1)
    changed.save_pretrained(copy / "model")
    done = nanoldm(*command)
    assert done.returncode == 2
    assert "distillation.network_sha256" in done.stderr
    again = nanoldm("train", tmp_path / "run" / "recipe.json", "--out", tmp_path / "other")
    assert "has other weights than when this run started" in again.stderr
