"""The training script from its command line, on a tiny base: what it leaves behind, and what it refuses."""

import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from diffusion_base import processes
from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.identity import base_hash
from diffusion_base.intervention import load_intervention
from diffusion_base.pipeline import load_pipeline
from diffusion_base.training import arguments, launch
from diffusion_base.training.tracking import read_history
from preference_finetuning import train as script
from preference_finetuning.objective import names, objective
from preference_finetuning.train import main
from tests.forked import in_two_processes
from tests.preference_finetuning.liked import write_pairs, write_table
from tests.tiny import tiny_folder, tiny_pipeline, tiny_vae

LORA = "pytorch_lora_weights.safetensors"
WEIGHTS = {"": "unet/diffusion_pytorch_model.safetensors", "--use_lora": LORA}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A base and data of both kinds, as the flags that name them."""
    folder = tmp_path_factory.mktemp("inputs")
    base, labels, pairs = tiny_folder(folder / "base"), write_table(folder / "data"), write_pairs(folder / "pairs")
    base_flag = f"--pretrained_model_name_or_path={base}"
    return {kind: [base_flag, f"--train_data_dir={data}"] for kind, data in (("labels", labels), ("pairs", pairs))}


def quick(inputs, output_dir, *more, data="labels"):
    """The flags of a run of two steps without logs; later flags win."""
    flags = "--train_batch_size=4 --max_train_steps=2 --learning_rate=1e-3 --lr_scheduler=constant --logging_steps=1"
    return [*inputs[data], f"--output_dir={output_dir}", *flags.split(), "--report_to=none", *more]


def flags_of(inputs, name):
    return "pairs" if objective(name).TRAITS.needs == "pairs" else "labels"


PUBLISHED = """--pick_split train --mixed_precision fp16 --dataset_name kashif/pickascore --train_batch_size 2
    --gradient_accumulation_steps 1 --gradient_checkpointing --use_8bit_adam --rank 8 --report_to wandb
    --lr_scheduler constant --lr_scheduler constant_with_warmup --lr_warmup_steps 200 --learning_rate 1e-7
    --checkpointing_steps 5000 --run_validation --validation_steps 50 --seed 0 --report_to wandb
    --checkpoints_total_limit 4 --policy gt_label_wi_l --dataloader pick --loss kto --halo sigmoid --positive_ratio 0.8
    --enable_xformers_memory_efficient_attention --fixed_noise"""


def test_published_command(inputs, tmp_path, capsys, caplog):
    """Diffusion-KTO's, with the paths changed, two steps and smaller pictures; then its README's lines to load it."""
    smaller = ["--max_train_steps=2", "--resolution=32"]
    output_dir = main([*inputs["labels"], f"--output_dir={tmp_path / 'out'}", *PUBLISHED.split(), *smaller])
    printed = capsys.readouterr().out
    for line in ("--rank has no effect without --use_lora", "--dataset_name has no effect with --train_data_dir"):
        assert line in printed
    assert not caplog.records
    assert "8 pictures of" in printed and "5 preferred and 3 dispreferred" in printed
    assert "in 8 bits: without a GPU it stays in 32" in printed and "--mixed_precision fp16 needs a GPU" in printed
    pictures = sorted((output_dir / "validation").iterdir())
    assert len(pictures) == 4 and re.fullmatch(r"step-2-a-photo-of-cat-\d-0\.png", pictures[0].name)
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 32)
    unet = UNet2DConditionModel.from_pretrained(output_dir, subfolder="unet")
    moved = [
        not torch.equal(value, unet.state_dict()[name]) for name, value in tiny_pipeline().unet.state_dict().items()
    ]
    assert any(moved)
    told = json.loads((output_dir / "training.json").read_text())["arguments"]
    assert told["objective"] == "kto" and told["lr_scheduler"] == "constant_with_warmup"


def under_zero2(inputs, output_dir):
    """One of two processes, as under Diffusion-KTO's config.json; DeepSpeed is told that the CPU is none."""
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    os.environ |= {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu", "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}
    os.environ["DS_ACCELERATOR"] = "cpu"
    processes.use_cpu = arguments.use_cpu = launch.use_cpu = lambda: False
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_CPU)
    smaller = ["--max_train_steps=2", "--resolution=32"]
    main([*inputs["labels"], f"--output_dir={output_dir}", *PUBLISHED.split(), *smaller])


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
def test_published_command_under_its_own_configuration(inputs, tmp_path):
    """Four samples a step, of two processes; what comes of it is whole."""
    in_two_processes(under_zero2, inputs, tmp_path / "out")
    run = json.loads((tmp_path / "out/training.json").read_text())
    assert (run["finished_steps"], run["samples_per_step"]) == (2, 4)
    unet, base = UNet2DConditionModel.from_pretrained(tmp_path / "out/unet"), tiny_pipeline().unet.state_dict()
    assert any(not torch.equal(value, base[name]) for name, value in unet.state_dict().items())


@pytest.mark.parametrize("name", names())
def test_every_objective_trains(inputs, tmp_path, name, monkeypatch):
    """And what it is not about stays as it was: the reference, the text encoder, the VAE, bit for bit."""
    tasks = []
    monkeypatch.setattr(script, "train", lambda task, *a, **o: tasks.append(task) or script_train(task, *a, **o))
    script_train = sys.modules["diffusion_base.training.loop"].train
    main(quick(inputs, tmp_path / "out", f"--objective={name}", "--measure_drift", data=flags_of(inputs, name)))
    first, second = read_history(tmp_path / "out")
    assert second["drift"] > 0 == first["drift"]
    if objective(name).TRAITS.reference:
        assert first["implicit_accuracy"] == 0.5 and {"saturated", "margin"} <= first.keys()
    (task,) = tasks
    base = tiny_pipeline()
    for ours, theirs in ((task.reference.twin, base.unet), *((task.frozen[n], getattr(base, n)) for n in task.frozen)):
        assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert not all(torch.equal(value, base.unet.state_dict()[key]) for key, value in task.denoiser.state_dict().items())


RESUMED = [
    ("", "--objective=kto --positive_ratio=0.8 --reference_ema --reference_ema_momentum=0.5 --use_ema"),
    ("--use_lora", "--objective=dpo --reference_ema --random_crop --gradient_checkpointing"),
    ("--use_lora", "--objective=mapo --optimizer=adafactor --timesteps_per_sample=2"),
]


@pytest.mark.parametrize(("lora", "options"), RESUMED)
def test_resumed_is_uninterrupted(inputs, tmp_path, monkeypatch, lora, options):
    """With the reference following at every step, whose place is continued too."""
    monkeypatch.setattr("preference_finetuning.task.EMA_STEPS", 1)
    data = "labels" if "kto" in options else "pairs"
    flags = [flag for flag in (lora, *options.split()) if flag]
    main(quick(inputs, tmp_path / "whole", *flags, "--max_train_steps=4", data=data))
    main(quick(inputs, tmp_path / "parts", *flags, "--checkpointing_steps=2", data=data))
    further = quick(
        inputs, tmp_path / "parts", *flags, "--max_train_steps=4", "--resume_from_checkpoint=latest", data=data
    )
    main(further)
    runs = ("whole", "parts", "parts/checkpoint-2")
    whole, parts, middle = (load_file(tmp_path / run / WEIGHTS[lora]) for run in runs)
    assert whole.keys() == parts.keys() and all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
    assert not all(torch.equal(tensor, middle[name]) for name, tensor in whole.items())


def test_a_lora_of_another_rank_does_not_continue(inputs, tmp_path):
    flags = ["--use_lora", "--lora_targets", "to_q", "conv1"]
    output_dir = main(quick(inputs, tmp_path / "out", *flags, "--rank=2", "--lora_alpha=8"))
    shapes = {tuple(tensor.shape) for name, tensor in load_file(output_dir / LORA).items() if "conv1" in name}
    assert (2, 8, 3, 3) in shapes
    with pytest.raises(UserError, match="rank 2 there, 3 here"):
        main(quick(inputs, tmp_path / "out", *flags, "--rank=3", "--resume_from_checkpoint=latest"))


def test_pictures_in_a_table(inputs, tmp_path):
    """Pick-a-Pic v2 as published, on XL, with a VAE of its own."""
    import datasets

    files = sorted(Path(inputs["pairs"][1].split("=")[1]).parent.glob("*.png"))
    content = [file.read_bytes() for file in files]
    rows = {"jpg_0": content[::2], "jpg_1": content[1::2], "label_0": [1.0, 0.0, 1.0, 0.0], "caption": ["a cat"] * 4}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "data/train-0.parquet")
    base = tiny_folder(tmp_path / "base", "sdxl")
    vae: AutoencoderKL = tiny_vae()
    vae.save_pretrained(tmp_path / "vae")
    told = {"pairs": [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={tmp_path / 'data'}"]}
    flags = ["--objective=dpo", "--use_lora", f"--pretrained_vae_model_name_or_path={tmp_path / 'vae'}"]
    output_dir = main(quick(told, tmp_path / "out", *flags, data="pairs"))
    pipeline = load_pipeline(base, device="cpu")
    known = json.loads((output_dir / "training.json").read_text())["base_hash"]
    assert known == base_hash(pipeline), "what is trained is the base's, whatever VAE made its latents"
    before = generate(pipeline, ["a cat"], [0], num_inference_steps=2, progress=False)
    pipeline.load_lora_weights(output_dir)
    assert generate(pipeline, ["a cat"], [0], num_inference_steps=2, progress=False) != before


@pytest.mark.parametrize("lora", ["", "--use_lora"])
def test_the_intervention_makes_what_validation_showed(inputs, tmp_path, lora):
    """The aligned half is what `preference_finetuning:RUN` makes of the base."""
    shown = ["--run_validation", "--fixed_noise", "--validation_prompts", "a cat", *([lora] if lora else [])]
    output_dir = main(quick(inputs, tmp_path / "out", *shown, "--learning_rate=0.1"))
    pipeline = load_pipeline(inputs["labels"][0].split("=")[1], device="cpu")
    aligned = load_intervention(f"preference_finetuning:{output_dir}", pipeline)
    (made,) = generate(pipeline, ["a cat"], [0], [aligned], progress=False)
    (base,) = generate(pipeline, ["a cat"], [0], progress=False)
    with Image.open(output_dir / "validation/step-2-a-cat-0.png") as both:
        assert both.crop((0, 0, 32, 32)).tobytes() == base.tobytes()
        difference = np.abs(np.asarray(both.crop((32, 0, 64, 32)), int) - np.asarray(made, int))
    assert difference.max() <= 1 < np.abs(np.asarray(base, int) - np.asarray(made, int)).max()


@pytest.mark.parametrize(("kind", "lora"), [("sd1", ""), ("sd1", "--use_lora"), ("sdxl", "")])
def test_pictures_in_half_precision(inputs, tmp_path, kind, lora):
    """A whole denoiser is in float32 beside a text encoder in bfloat16, a LoRA in float32 inside one in bfloat16; both
    show about what they would in float32."""
    base = f"--pretrained_model_name_or_path={tiny_folder(tmp_path / 'base', kind)}"
    shown = ["--run_validation", "--fixed_noise", "--validation_prompts", "a cat", *([lora] if lora else [])]
    halves = []
    for precision in ("bf16", "no"):
        flags = [base, *shown, f"--mixed_precision={precision}", "--max_train_steps=1"]
        folder = main(quick(inputs, tmp_path / precision, *flags))
        with Image.open(folder / "validation/step-1-a-cat-0.png") as both:
            halves.append(np.asarray(both, int))
    assert np.abs(halves[0] - halves[1]).mean() < 8


def test_validation_from_other_noise_each_time(inputs, tmp_path):
    def left_halves(*flags):
        shown = ["--run_validation", "--validation_steps=1", "--validation_prompts", "a cat", *flags]
        folder = main(quick(inputs, tmp_path / f"out{len(flags)}", *shown)) / "validation"
        return [load(folder / f"step-{step}-a-cat-0.png") for step in (1, 2)]

    def load(path):
        with Image.open(path) as picture:
            return picture.crop((0, 0, 32, 32)).tobytes()

    first, second = left_halves()
    fixed, again = left_halves("--fixed_noise", "--reference_ema")
    assert first != second and fixed == again


def test_the_flags_of_the_first_implementation(inputs, tmp_path, capsys):
    flags = """--loss sft --use_ema --ema_momentum 0.998 --reference_ema_momentum 0.999 --lambda_u_kto 1 --no_hflip
        --random_crop --vae_encode_batch_size 4 --max_train_samples 4 --tracker_name kto --lr_num_cycles 2 --lr_power 2
        --proportion_empty_prompts 0 --dataset_split_name validation --dataloader default --allow_tf32 --scale_lr"""
    with pytest.raises(UserError, match="'--objective sft' has no option 'lambda_u'"):
        main(quick(inputs, tmp_path / "out", *flags.split()))
    main(quick(inputs, tmp_path / "out", *flags.replace("--lambda_u_kto 1", "").split(), "--train_batch_size=1"))
    told = json.loads((tmp_path / "out/training.json").read_text())["arguments"]
    assert (told["ema_decay"], told["tracker_project_name"]) == (0.998, "kto")
    assert (told["center_crop"], told["random_flip"]) == (False, False)


@pytest.mark.parametrize(
    ("data", "flags", "message"),
    [
        ("labels", ["--objective=nothing"], "--objective nothing: there is none of that name"),
        ("labels", ["--objective=dpo"], "needs pairs, and .* holds labels: those fit csft, kto"),
        ("labels", ["--objective=kto?gamma=1"], "'--objective kto' has no option 'gamma'"),
        ("pairs", ["--objective=mapo?snr=0"], "snr"),
        ("pairs", ["--objective=dpo", "--halo=sigmoid"], "'--objective dpo' has no option 'halo'"),
        ("labels", ["--beta_dpo=0"], "--beta_dpo 0.0: it must be more than 0"),
        ("labels", ["--beta_dpo=-5"], "--beta_dpo -5.0: it must be more than 0"),
        ("pairs", ["--objective=dpo", "--positive_ratio=0.5"], "--positive_ratio has no meaning"),
        ("labels", ["--positive_ratio=1.5"], "--positive_ratio 1.5: it must be 1 or less"),
        ("labels", ["--objective=sft", "--reference_ema"], "--reference_ema: --objective sft has no reference"),
        ("labels", ["--reference_ema", "--run_validation"], "needs --fixed_noise"),
        ("labels", ["--train_data_dir=nowhere"], "nowhere: there is no such file or folder"),
        ("pairs", ["--dataloader=pick"], "--dataloader pick: there is no .*train_processed_v3.csv"),
        ("labels", ["--use_lora", "--lora_targets", "to_z"], "--lora_targets to_z: this base's UNet2D"),
        ("labels", ["--timestep_range", "10", "5"], "--timestep_range 10 5: it must be two numbers"),
    ],
)
def test_refused(inputs, tmp_path, data, flags, message):
    with pytest.raises(UserError, match=message):
        main(quick(inputs, tmp_path / "out", *flags, data=data))


def test_neither_folder_nor_dataset(inputs, tmp_path):
    with pytest.raises(UserError, match="--train_data_dir or by --dataset_name"):
        main([inputs["labels"][0], f"--output_dir={tmp_path / 'out'}"])


def test_other_data_does_not_continue_a_run(inputs, tmp_path):
    data = Path(shutil.copytree(inputs["labels"][1].split("=")[1], tmp_path / "data"))
    told = {"labels": [inputs["labels"][0], f"--train_data_dir={data}"]}
    main(quick(told, tmp_path / "out"))
    table = data / "train_processed_v3.csv"
    table.write_text(table.read_text().replace("cat 0,exclusive_win", "cat 0,exclusive_lose"))
    with pytest.raises(UserError, match="was trained on other data"):
        main(quick(told, tmp_path / "out", "--max_train_steps=3", "--resume_from_checkpoint=latest"))
