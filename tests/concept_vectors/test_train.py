"""The training script from its command line, on a tiny base: what it leaves behind, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from concept_vectors.dataset import ConceptPictures, read_data
from concept_vectors.inference import ConceptVector
from concept_vectors.task import ConceptTask
from concept_vectors.train import main
from concept_vectors.vectors import FILE, load_vectors
from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.latents import LatentCache
from diffusion_base.pipeline import load_pipeline
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from diffusion_base.training.tracking import read_history
from tests.concept_vectors.concept_data import write_concept_data
from tests.forked import in_two_processes
from tests.tiny import tiny_folder, tiny_pipeline

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A base and pictures, as the flags that name them."""
    folder = tmp_path_factory.mktemp("inputs")
    base, data = tiny_folder(folder / "base"), write_concept_data(folder / "data")
    return [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={data}"]


def quick(inputs, output_dir, *more):
    """The flags of a run of two steps without pictures and logs; later flags win."""
    flags = ["--train_batch_size=4", "--max_train_steps=2", "--report_to=none", "--num_images_per_val_prompt=0"]
    return [*inputs, f"--output_dir={output_dir}", *flags, *more]


def test_published_command(inputs, tmp_path, capsys):
    """The README's two flags, and two passes: vectors, strips over strength, history, curve."""
    output_dir = main([*inputs, f"--output_dir={tmp_path / 'out'}", "--num_train_epochs=2", "--logging_steps=1"])
    printed = capsys.readouterr().out
    assert "9 pictures; concepts: woman (6), man (3), young (3)" in printed and "2 steps of 8 samples" in printed
    pipeline = load_pipeline(inputs[0].split("=")[1], device="cpu")
    for folder in (output_dir, output_dir / "checkpoint-2"):
        vectors = load_vectors(folder, pipeline)
        assert all(tensor.shape == (16, 4, 4) and tensor.abs().max() > 0.05 for tensor in vectors.tensors.values())
    assert vectors.training["learning_rate"] == 0.1 and vectors.training["prompts"] == ["a person"]
    strips = sorted((output_dir / "validation").iterdir())
    names = ("man-a-nurse-0", "man-a-nurse-1", "woman-young-a-nurse-0", "woman-young-a-nurse-1")
    assert [path.name for path in strips] == [f"step-2-{name}.png" for name in names]
    with Image.open(strips[0]) as strip:
        assert strip.size == (5 * 32, 32)
    assert [row["step"] for row in read_history(output_dir)] == [1, 2]
    assert len(list((output_dir / "latents").rglob("*.safetensors"))) == 9
    with Image.open(output_dir / "loss.png") as curve:
        assert curve.size[0] > 500


def test_a_run_without_test_json_shows_each_concept(inputs, tmp_path):
    data = shutil.copytree(inputs[1].split("=")[1], tmp_path / "data")
    (data / "test.json").unlink()
    flags = ["--num_images_per_val_prompt=1", "--validation_strengths", "0", "1", "--concepts", "man", "woman"]
    output_dir = main(quick([inputs[0], f"--train_data_dir={data}"], tmp_path / "out", *flags))
    strips = sorted(path.name for path in (output_dir / "validation").iterdir())
    assert strips == ["step-2-man-a-person-0.png", "step-2-woman-a-person-0.png"]


def test_the_miniature_with_its_preset(tmp_path):
    """Two steps on the embedded base, by the settings it was tuned to."""
    data = write_concept_data(tmp_path / "data", each=4, size=64)
    preset, base = REPOSITORY / "concept_vectors/configs/miniature.yaml", REPOSITORY / "assets/miniature"
    inputs = [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={data}", f"--config={preset}"]
    output_dir = main([*inputs, f"--output_dir={tmp_path / 'out'}", "--max_train_steps=2", "--train_batch_size=4"])
    pipeline = load_pipeline(base, device="cpu")
    woman = ConceptVector(output_dir, "woman", pipeline=pipeline)
    options = {"num_inference_steps": 2, "guidance_scale": 2.5, "progress": False}
    images = [generate(pipeline, ["a photo of a nurse"], [0], list(i), **options)[0] for i in ((), (woman,))]
    assert images[0].size == (64, 64) and images[0].tobytes() != images[1].tobytes()


def test_nothing_but_the_vectors_moves(tmp_path):
    pipeline = tiny_pipeline()
    data = read_data(write_concept_data(tmp_path / "data"))
    pictures = ConceptPictures(data, LatentCache(pipeline.vae, tmp_path / "latents", 32))
    task = ConceptTask(pipeline, data.concepts)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_train_steps=2, train_batch_size=3, learning_rate=0.1, report_to="none"
    )
    train(task, pictures, arguments)
    moved = {name for name, tensor in task.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"vectors"}


@pytest.mark.parametrize("crop", ["--center_crop", "--no-center_crop"])
def test_resumed_is_uninterrupted(inputs, tmp_path, crop):
    more = [crop, "--random_flip", "--logging_steps=1"]
    main(quick(inputs, tmp_path / "whole", "--max_train_steps=4", *more))
    main(quick(inputs, tmp_path / "parts", "--checkpointing_steps=2", *more))
    main(quick(inputs, tmp_path / "parts", "--max_train_steps=4", "--resume_from_checkpoint=latest", *more))
    whole, parts, middle = ((tmp_path / run / FILE).read_bytes() for run in ("whole", "parts", "parts/checkpoint-2"))
    assert whole == parts != middle
    assert read_history(tmp_path / "whole") == read_history(tmp_path / "parts")


def vectors_of(output_dir, inputs):
    return load_vectors(output_dir, load_pipeline(inputs[0].split("=")[1], device="cpu")).tensors


def assert_same_up_to_rounding(found, expected):
    """Adam moves an element by its gradient's sign, and rounding decides that of the few that are next to 0."""
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() < 0.01 * tensor.norm()


def test_accumulation_equals_the_big_batch(inputs, tmp_path):
    big = vectors_of(main(quick(inputs, tmp_path / "big")), inputs)
    small = ["--train_batch_size=1", "--gradient_accumulation_steps=4"]
    assert_same_up_to_rounding(vectors_of(main(quick(inputs, tmp_path / "small", *small)), inputs), big)


def test_clipping_works(inputs, tmp_path):
    """Adam forgets the gradient's size but for ε: with ε far above the clipped gradient hardly anything moves."""
    free, clipped = (
        vectors_of(main(quick(inputs, tmp_path / str(norm), "--adam_epsilon=1e-3", f"--max_grad_norm={norm}")), inputs)
        for norm in (1.0, 1e-6)
    )
    assert clipped["woman"].abs().max() < 0.01 * free["woman"].abs().max()


def test_two_processes_equal_one_with_the_doubled_batch(inputs, tmp_path):
    one = vectors_of(main(quick(inputs, tmp_path / "one")), inputs)
    in_two_processes(main, quick(inputs, tmp_path / "two", "--train_batch_size=2"))
    assert json.loads((tmp_path / "two" / "training.json").read_text())["samples_per_step"] == 2 * 2
    assert_same_up_to_rounding(vectors_of(tmp_path / "two", inputs), one)


def test_sdxl(tmp_path):
    base, data = tiny_folder(tmp_path / "base", "sdxl"), write_concept_data(tmp_path / "data")
    inputs = [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={data}"]
    output_dir = main(quick(inputs, tmp_path / "out", "--num_images_per_val_prompt=1"))
    assert len(list((output_dir / "validation").iterdir())) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--snr_gamma=0"], "--snr_gamma 0.0: it must be more than 0"),
        (["--snr_gamma=nan"], "--snr_gamma nan: it must be a finite number"),
        (["--learning_rate=nan"], "--learning_rate nan: it must be"),
        (["--max_train_samples=0"], "--max_train_samples 0: it must be 1 or more"),
        (["--resolution=0", "--per_channel"], "--resolution 0: it must be 1 or more"),
        (
            ["--num_images_per_val_prompt=-1"],
            "--num_images_per_val_prompt -1: it must be a number that is not negative",
        ),
        (["--validation_strengths", "0", "1e6"], "--validation_strengths 1000000.0: it must be 100 or less"),
        (["--validation_strengths"], "--validation_strengths needs a number"),
        (["--train_batch_size=10"], "the data has only 9"),
        (["--train_data_dir=nowhere"], "there is no such folder"),
        (["--concepts", "womn"], "did you mean 'woman'"),
        (["--resolution=64"], "--resolution 64"),
    ],
)
def test_refused(inputs, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(quick(inputs, tmp_path / "out", *flags))
    if "--resolution=64" in flags:
        assert not (tmp_path / "out" / "latents").exists()  # refused before pictures are encoded


def test_concepts_that_nothing_shows_are_told(inputs, tmp_path, capsys):
    data = shutil.copytree(inputs[1].split("=")[1], tmp_path / "data")
    numbers = json.loads((data / "concept_dict.json").read_text()) | {"old": 3}
    (data / "concept_dict.json").write_text(json.dumps(numbers))
    output_dir = main(quick([inputs[0], f"--train_data_dir={data}"], tmp_path / "out", "--max_train_steps=1"))
    assert "no picture shows old: not learned" in capsys.readouterr().out
    assert "old" not in vectors_of(output_dir, inputs)


def test_the_resolved_arguments_are_kept(inputs, tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("learning_rate: 0.05\nper_channel: true\n")
    output_dir = main(quick(inputs, tmp_path / "out", f"--config={preset}", "--select=top"))
    arguments = json.loads((output_dir / "training.json").read_text())["arguments"]
    assert [arguments[name] for name in ("learning_rate", "per_channel", "select")] == [0.05, True, "top"]
