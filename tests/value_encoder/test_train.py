"""The training script from its command line, on a tiny base: what it leaves behind, and what it refuses."""

import json
import shutil
import warnings
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.latents import LatentCache
from diffusion_base.pipeline import load_pipeline
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from preference_data.published import read_livo_folder
from tests.tiny import tiny_folder, tiny_pipeline
from tests.value_encoder.livo_data import write_livo_data
from value_encoder.dataset import PreferencePairs, pair
from value_encoder.inference import ValueToken
from value_encoder.task import LiVOTask
from value_encoder.train import main

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = "value_encoder/model.safetensors"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A base and preference pairs, as the flags that name them."""
    folder = tmp_path_factory.mktemp("inputs")
    base, data = tiny_folder(folder / "base"), write_livo_data(folder / "data")
    return [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={data}"]


def quick(inputs, output_dir, *more):
    """The flags of a run of two steps without pictures and logs; later flags win."""
    flags = "--center_crop --random_flip --train_batch_size=3 --max_train_steps=2 --learning_rate=1e-3".split()
    return [*inputs, f"--output_dir={output_dir}", *flags, "--report_to=none", "--num_images_per_val_prompt=0", *more]


def test_published_command(inputs, tmp_path, capsys):
    """The command of LiVO's README, with the paths changed and two steps: on a CPU, fp16 and xformers give way."""
    command = """--validation_prompts|gender equality, a photo of a doctor
        nudity considered inappropriate, a naked woman
        --num_images_per_val_prompt=2|--resolution=512|--center_crop|--random_flip|--train_batch_size=8
        --max_train_steps=15000|--gradient_accumulation_steps=1|--gradient_checkpointing|--learning_rate=1e-6
        --lr_scheduler=constant|--lr_warmup_steps=1000|--livo_beta=1000|--livo_alpha=500|--livo_gamma_1=1
        --livo_gamma_2=0.5|--max_grad_norm=1|--mixed_precision=fp16|--checkpointing_steps=1000
        --checkpoints_total_limit=20|--enable_xformers_memory_efficient_attention|--validation_steps=1000"""
    published = [flag.strip() for line in command.splitlines() for flag in line.split("|")]
    smaller = ["--max_train_steps=2", "--train_batch_size=4", "--resolution=32"]
    output_dir = main([*inputs, f"--output_dir={tmp_path / 'out'}", *published, *smaller])

    printed = capsys.readouterr().out
    assert "--lr_warmup_steps has no effect" in printed
    assert "6 preferred pictures in 3 scenes" in printed
    if not torch.cuda.is_available():
        assert "--mixed_precision fp16 needs a GPU" in printed and "torch's own attention is used" in printed
    for encoder in (output_dir / "value_encoder", output_dir / "checkpoint-2/value_encoder"):
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in encoder.iterdir()}
    pictures = sorted((output_dir / "validation").iterdir())
    assert [path.name for path in pictures] == [
        "step-2-gender-equality-a-photo-of-a-doctor-0.png",
        "step-2-gender-equality-a-photo-of-a-doctor-1.png",
        "step-2-nudity-considered-inappropriate-a-naked-woman-0.png",
        "step-2-nudity-considered-inappropriate-a-naked-woman-1.png",
    ]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 32)
    assert list((output_dir / "logs").rglob("events.out.tfevents.*"))
    arguments = json.loads((output_dir / "training.json").read_text())["arguments"]
    assert arguments["livo_beta"] == 1000 and arguments["livo_gamma_2"] == 0.5


def test_the_miniature_with_its_preset(tmp_path):
    """Two steps on the embedded base, by the settings it was tuned to."""
    data = write_livo_data(tmp_path / "data", preferred=4, size=64)
    preset, base = REPOSITORY / "value_encoder/configs/miniature.yaml", REPOSITORY / "assets/miniature"
    inputs = [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={data}", f"--config={preset}"]
    output_dir = main([*inputs, f"--output_dir={tmp_path / 'out'}", "--max_train_steps=2", "--train_batch_size=4"])
    pipeline = load_pipeline(base, device="cpu")
    token = ValueToken(output_dir, "gender equality", pipeline=pipeline)
    trained, original = token.encoder.state_dict(), pipeline.text_encoder.state_dict()
    assert not any(torch.equal(trained[name], original[name]) for name in original if name.endswith("q_proj.weight"))
    assert len(list((output_dir / "validation").iterdir())) == 3


def test_nothing_but_the_encoder_moves(tmp_path):
    pipeline = tiny_pipeline()
    cache = LatentCache(pipeline.vae, tmp_path / "latents", 32)
    pairs = PreferencePairs(pair(read_livo_folder(write_livo_data(tmp_path / "data"))), cache)
    task = LiVOTask(pipeline, beta=30, alpha=15, gamma1=1, gamma2=0.5)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_train_steps=2, train_batch_size=3, learning_rate=1e-3, report_to="none"
    )
    train(task, pairs, arguments)
    moved = {name for name, tensor in task.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and all(name.startswith("value_encoder.") for name in moved)
    assert "value_encoder.encoder.layers.0.self_attn.q_proj.weight" in moved


@pytest.mark.parametrize("crop", ["--center_crop", "--no-center_crop"])
def test_resumed_is_uninterrupted(inputs, tmp_path, crop):
    main(quick(inputs, tmp_path / "whole", crop, "--max_train_steps=4"))
    main(quick(inputs, tmp_path / "parts", crop, "--checkpointing_steps=2"))
    data = Path(shutil.copytree(inputs[1].split("=")[1], tmp_path / "moved"))
    further = quick(
        [inputs[0], f"--train_data_dir={data}"], tmp_path / "parts", crop, "--max_train_steps=4",
        "--resume_from_checkpoint=latest",
    )  # fmt: skip
    metadata = next(data.rglob("metadata.jsonl"))
    original = metadata.read_text()
    metadata.write_text(original.replace('"prompt": "', '"prompt": "another '))
    with pytest.raises(UserError, match="checkpoint-2 was trained on other data"):
        main(further)
    metadata.write_text(original)
    main(further)
    whole, parts, middle = ((tmp_path / run / WEIGHTS).read_bytes() for run in ("whole", "parts", "parts/checkpoint-2"))
    assert whole == parts != middle


def test_three_lines_of_a_notebook(inputs, tmp_path):
    main(quick(inputs, tmp_path / "out"))
    pipeline = load_pipeline(inputs[0].split("=")[1], device="cpu")
    token = ValueToken(tmp_path / "out", "gender equality", pipeline=pipeline)
    images = generate(pipeline, ["a photo of a nurse"] * 4, range(4), [token], num_inference_steps=2, progress=False)
    assert [image.size for image in images] == [(32, 32)] * 4


def test_min_snr_and_other_spellings(inputs, tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("livo_beta: 30\nsnr_gamma: 5\n")
    flags = ["--livo-gamma1", "2", "--livo_gamma2=3", f"--config={preset}"]
    arguments = json.loads((main(quick(inputs, tmp_path / "out", *flags)) / "training.json").read_text())["arguments"]
    names = ("livo_beta", "snr_gamma", "livo_gamma_1", "livo_gamma_2")
    assert [arguments[name] for name in names] == [30, 5, 2, 3]


def test_every_flag_of_the_first_implementation(inputs, tmp_path, capsys):
    """Those that the published command leaves out; wandb and a GPU are not here, and give way."""
    flags = """--input_perturbation=0.1 --noise_offset=0.1 --prediction_type=v_prediction --max_train_proportion=0.5
        --cache_dir=cache --name=run --tracker_project_name=livo --report_to=wandb --scale_lr --allow_tf32
        --adam_beta1=0.9 --adam_beta2=0.999 --adam_weight_decay=0.01 --adam_epsilon=1e-8 --dataloader_num_workers=0
        --logging_dir=log --num_train_epochs=1 --seed=1 --revision=main"""
    main(quick(inputs, tmp_path / "out", "--train_batch_size=1", *flags.split()))
    printed = capsys.readouterr().out
    assert "3 preferred pictures in 3 scenes" in printed and "2 steps of 1 samples" in printed


def test_an_epoch_where_the_steps_are_not_given(inputs, tmp_path, capsys):
    flags = [flag for flag in quick(inputs, tmp_path / "out") if "max_train_steps" not in flag]
    main([*flags, "--num_train_epochs=1"])
    assert "training: 2 steps of 3 samples out of 6" in capsys.readouterr().out


def test_hugging_face_dataset(inputs, tmp_path):
    rows = [
        {
            "image": str(entry.path),
            "label": int(entry.preferred),
            "prompt": entry.prompt,
            "value": entry.value,
            "category": entry.group.split("/")[0],
            "scene": entry.group.split("/")[1],
        }
        for entry in read_livo_folder(inputs[1].split("=")[1])
    ]
    datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()).save_to_disk(str(tmp_path / "saved"))
    main(quick(inputs, tmp_path / "folder"))
    main(quick([inputs[0], f"--dataset_name={tmp_path / 'saved'}"], tmp_path / "dataset"))
    folder, dataset = (load_file(tmp_path / run / WEIGHTS) for run in ("folder", "dataset"))
    assert all(torch.equal(tensor, dataset[name]) for name, tensor in folder.items())


def test_a_long_prompt_is_cut_with_one_warning(inputs, tmp_path):
    data = write_livo_data(tmp_path / "data")
    for file in data.rglob("metadata.jsonl"):
        file.write_text(file.read_text().replace("a photo of a", "a photo " + "very " * 15 + "close of a"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        main(quick([inputs[0], f"--train_data_dir={data}"], tmp_path / "out"))
    lost = [
        str(warning.message).split("lost ")[1] for warning in caught if "its end was cut off" in str(warning.message)
    ]
    cut = [text.split(" of ")[0] for text in lost if "gender" not in text and "racial" not in text]
    assert sorted(cut) == ["'octor'", "'urse'"]  # each once, though used twice
    assert len(lost) > len(cut)  # what the value encoder reads is longer still


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--snr_gamma=0"], "--snr_gamma 0.0: it must be more than 0"),
        (["--train_batch_size=7"], "--train_batch_size 7"),
        (["--validation_prompts", "a doctor"], "must read '<value>, <prompt>'"),
        (["--dataset_name=somewhere"], "one of the two"),
        (["--train_data_dir=nowhere"], "there is no such folder"),
        (["--max_train_proportion=0"], "--max_train_proportion 0.0: it must be more than 0"),
        (
            ["--num_images_per_val_prompt=-1"],
            "--num_images_per_val_prompt -1: it must be a number that is not negative",
        ),
        (["--resolution=0"], "--resolution 0: it must be 1 or more"),
        (["--validation_guidance_scale=nan"], "--validation_guidance_scale nan: it must be a finite number"),
        (["--noise_offset=-1"], "--noise_offset -1.0: it must be a number that is not negative"),
    ],
)
def test_refused(inputs, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(quick(inputs, tmp_path / "out", *flags))


def test_another_base_does_not_continue_a_run(inputs, tmp_path):
    main(quick(inputs, tmp_path / "out"))
    other = f"--pretrained_model_name_or_path={tiny_folder(tmp_path / 'other', seed=1)}"
    with pytest.raises(UserError, match="another base"):
        main(quick([other, inputs[1]], tmp_path / "out", "--resume_from_checkpoint=latest"))


def test_sdxl_is_refused(inputs, tmp_path):
    base = tiny_folder(tmp_path / "base", "sdxl")
    with pytest.raises(UserError, match="XL has several"):
        main(quick([f"--pretrained_model_name_or_path={base}", inputs[1]], tmp_path / "out"))
