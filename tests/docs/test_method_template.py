"""What a newcomer copies: docs/method_template trains, is killed and continued, makes pictures and is evaluated, from a
folder of its own and without an edit anywhere else."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from diffusion_base import generate
from diffusion_base.conformance import check_conformance
from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from diffusion_base.intervention import load_intervention
from diffusion_base.training.tracking import read_history
from evaluation.generate import main as generate_sets
from preference_data import Pair, write_records
from tests.tiny import tiny_folder, tiny_pipeline

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "docs" / "method_template"
STEPS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the method, a base and four pairs, in which the commands run."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(TEMPLATE, folder / "my_method", ignore=shutil.ignore_patterns("__pycache__"))
    tiny_folder(folder / "base")
    rng, pairs = np.random.default_rng(0), []
    for i in range(4):
        pair = Pair(f"a photo of a nurse, {i}", folder / f"{i}-preferred.png", folder / f"{i}-dispreferred.png")
        for path, channel in ((pair.preferred, 2), (pair.dispreferred, 0)):
            pixels = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(path)
        pairs.append(pair)
    write_records(folder / "pairs.jsonl", pairs)
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])  # as it was, before a specification added to it


@pytest.fixture(scope="module")
def my_method(place):
    """Import a module of it."""
    sys.path.append(str(place))
    yield lambda name: import_module(f"my_method.{name}")
    sys.path.remove(str(place))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_method"]:
        del sys.modules[name]


def flags(output_dir: str, *more: str) -> list[str]:
    quiet = "--report_to=none --logging_steps=1 --num_images_per_val_prompt=0"
    quick = f"--train_batch_size=2 --max_train_steps={STEPS} --learning_rate=0.01"
    paths = ["--pretrained_model_name_or_path=base", "--train_data=pairs.jsonl", f"--output_dir={output_dir}"]
    return [*paths, *quick.split(), *quiet.split(), *more]


@pytest.fixture(scope="module")
def trained(place, my_method):
    """A run that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return my_method("train").main(flags("whole", "--num_images_per_val_prompt=1"))


def weights(folder: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "my_method.safetensors").items()}


def test_killed_and_continued_is_as_never_killed(place, my_method, trained):
    """The launcher finds the package beside it; the run is killed at a checkpoint and continued to the same bits."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--num_processes=1", "-m"]
    command = [*launch, "my_method.train", *flags("killed", "--checkpointing_steps=1")]
    # as many threads as here: sums depend on their number
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with (place / "log").open("w") as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log)
    started = time.monotonic()
    while not (place / "killed" / "checkpoint-3").is_dir():
        assert process.poll() is None and time.monotonic() - started < 300, (place / "log").read_text()
        time.sleep(0.01)
    for one in [*process.children(recursive=True), process]:
        one.kill()
    process.wait()
    assert not (place / "killed" / f"checkpoint-{STEPS}").exists(), "it was killed in the middle"
    my_method("train").main(flags("killed", "--resume_from_checkpoint=latest"))
    assert weights(place / "killed") == weights(trained)


def test_it_begins_as_the_base(trained):
    """At the first step no error has moved, so each pair's loss is log 2; then the LoRA is no longer zero."""
    first = read_history(trained)[0]
    assert (first["loss"], first["drift_preferred"]) == (pytest.approx(math.log(2)), 0)
    assert all(tensor.any() for tensor in load_file(trained / "my_method.safetensors").values())


def test_recomputed_activations_are_the_same(my_method):
    runs = {name: ["--max_train_steps=2", f"--{name}gradient_checkpointing"] for name in ("", "no-")}
    first, second = (my_method("train").main(flags(f"{name}saving", *more)) for name, more in runs.items())
    assert weights(first) == weights(second)


def test_conformance(my_method, trained):
    pipeline, lora = tiny_pipeline(), my_method("inference").Lora
    check_conformance(lambda: lora(trained, pipeline=pipeline), pipeline)


def test_pictures_and_figures_from_the_command_lines(place, trained):
    """evaluation/eval_bias.py, started as a script, finds a method that lies in the current folder."""
    (place / "career.jsonl").write_text('{"prompt": "a nurse"}\n{"prompt": "a pilot"}\n')
    making = ["--pretrained_model_name_or_path=base", "--intervention=my_method:whole?strength=0.5", "--device=cpu"]
    making += ["--num_inference_steps=2", "--images_per_prompt=2"]
    generate_sets([*making, "--output_dir=made", "--eval_data=career.jsonl"])
    assert len(list((place / "made").rglob("*.png"))) == 4

    measuring = ["--type=gender", "--eval_data=career.jsonl", "--judge=tests.evaluation.fake_judge:first-pixel"]
    script = [sys.executable, str(ROOT / "evaluation" / "eval_bias.py")]
    command = [*script, *making, *measuring, "--save_path=figures", "--num_workers=0", "--image_format=png"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    scores = read_jsonl(place / "figures" / "scores" / "bias_gender_career.jsonl")
    assert [row["interventions"][0]["strength"] for row in scores] == [0.5] * 4
    assert json.loads((place / "figures" / "figures" / "bias_gender_career.json").read_text())


def test_what_it_refuses(my_method, trained):
    lora = my_method("inference").Lora
    with pytest.raises(UserError, match="nowhere.*can't be read .*give the folder of a finished training"):
        lora("nowhere", pipeline=tiny_pipeline())
    with pytest.raises(UserError, match="learned on another base"):
        lora(trained, pipeline=tiny_pipeline(seed=1))
    meant = load_intervention("my_method:whole?other_base=true", tiny_pipeline(seed=1))
    assert "learned on another base" in meant.describe()["warning"]
    for foreign in (None, {"format": "pt"}):
        Path("foreign").mkdir(exist_ok=True)
        save_file({"a": torch.ones(1)}, "foreign/my_method.safetensors", metadata=foreign)
        with pytest.raises(UserError, match="can't be read .*give the folder of a finished training"):
            lora("foreign", pipeline=tiny_pipeline())


def test_the_loss_by_hand(my_method):
    """Errors fall by 1 and rise by 2 for the first pair: margin −3, at β = 2 the loss is log(1 + e⁻³). The second pair
    has not moved: log 2, with gradients ∓β/2 · σ(0)."""
    policy = torch.tensor([1.0, 5.0, 4.0, 6.0], requires_grad=True)
    reference = torch.tensor([2.0, 5.0, 2.0, 6.0])
    loss, figures = my_method("loss").dpo_loss(policy, reference, beta=2.0)
    torch.testing.assert_close(loss, torch.tensor([math.log(1 + math.exp(-3)), math.log(2)]))
    assert figures["implicit_accuracy"].tolist() == [1, 0] and figures["drift_preferred"].tolist() == [-1, 0]
    loss[1].backward()
    torch.testing.assert_close(policy.grad, torch.tensor([0, 0.5, 0, -0.5]))


def test_its_validation_shows_the_base_beside_the_policy(trained):
    prompts = [f"a photo of a nurse, {i}" for i in range(4)]
    base = generate(tiny_pipeline(), prompts, [0] * 4, progress=False)
    for i, picture in enumerate(base):
        both = load_image(trained / f"validation/step-{STEPS}-a-photo-of-a-nurse-{i}-0.png")
        assert both.crop((0, 0, 32, 32)) == picture != both.crop((32, 0, 64, 32))


def test_it_is_short():
    """A whole method is fewer than 150 lines, blank ones aside."""
    sources = [path.read_text() for path in TEMPLATE.glob("*.py")]
    assert sum(bool(line.strip()) for source in sources for line in source.splitlines()) < 150
