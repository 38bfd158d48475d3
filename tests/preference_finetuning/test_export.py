"""What is exported is loaded by other programs' own means, and again by ours."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
from huggingface_hub.utils import httpx
from safetensors.torch import load_file, save_file

from diffusion_base.errors import UserError
from diffusion_base.identity import base_hash
from diffusion_base.weights import PublishedWeights
from diffusion_base.weights.intervention import put_in
from diffusion_base.weights.single_file import checkpoint
from preference_finetuning import model_card
from preference_finetuning.export import main
from tests.diffusion_base.weights.layouts import ATTENTION, random_lora, save_kohya
from tests.tiny import TEXT_WIDTH, tiny_folder, tiny_pipeline

NETWORKS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {kind: tiny_folder(tmp_path_factory.mktemp(kind), kind) for kind in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def lora(tmp_path):
    """Of attention, a convolution in a resnet, and the text encoder; at half its strength."""
    file = tmp_path / "lora.safetensors"
    save_kohya(random_lora(targets=(*ATTENTION, "conv1"), rank=4), file)
    text = {}
    for layer in ("q_proj", "out_proj"):
        name, generator = f"lora_te_text_model_encoder_layers_1_self_attn_{layer}", torch.Generator().manual_seed(1)
        text[f"{name}.lora_down.weight"] = torch.randn(4, TEXT_WIDTH, generator=generator)
        text[f"{name}.lora_up.weight"] = torch.randn(TEXT_WIDTH, 4, generator=generator)
        text[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(load_file(file) | text, file)
    return file


@pytest.fixture
def whole(tmp_path):
    tiny_pipeline(seed=1).unet.save_pretrained(tmp_path / "run" / "unet")
    return tmp_path / "run"


def export(base, weights, out, *flags):
    return main([str(weights), str(out), "--pretrained_model_name_or_path", str(base), *flags])


def merged(pipeline, weights, strength=1.0):
    """All tensors of a pipeline with weights in it."""
    with put_in(pipeline, PublishedWeights(weights, pipeline=pipeline).matched.edits, strength):
        return {
            f"{name}.{key}": tensor.clone()
            for name in NETWORKS
            for key, tensor in pipeline.components[name].state_dict().items()
        }


def loaded_as_the_card_says(out):
    (lines,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), flags=re.S)
    names: dict = {}
    exec(lines, names)
    pipeline = names["pipeline"]
    if "load_lora_weights" in lines:
        pipeline.fuse_lora(components=["unet", "text_encoder"])
    return {
        f"{name}.{key.replace('.base_layer.', '.')}": tensor
        for name in NETWORKS
        for key, tensor in pipeline.components[name].state_dict().items()
        if ".lora_" not in key
    }


def same(some, others, atol):
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_a_lora(layout, bases, lora, tmp_path):
    out = export(bases["sd1"], lora, tmp_path / "out", "--layout", layout)
    expected = merged(tiny_pipeline(), lora)
    same(merged(tiny_pipeline(), out), expected, 1e-6)
    same(loaded_as_the_card_says(out), expected, 1e-6)
    half = export(bases["sd1"], lora, tmp_path / "half", "--layout", layout, "--strength", "0.5")
    same(merged(tiny_pipeline(), half), merged(tiny_pipeline(), lora, 0.5), 1e-6)


def test_a_lora_of_sdxl_has_the_names_of_kohyas_scripts(bases, tmp_path):
    save_kohya(random_lora("sdxl"), tmp_path / "lora.safetensors")
    out = export(bases["sdxl"], tmp_path / "lora.safetensors", tmp_path / "out", "--layout", "kohya")
    names = load_file(out / "out.safetensors").keys()
    assert "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k.lora_down.weight" in names
    assert "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_out_0.alpha" in names
    expected = merged(tiny_pipeline("sdxl"), tmp_path / "lora.safetensors")
    same(merged(tiny_pipeline("sdxl"), out), expected, 1e-6)
    same(loaded_as_the_card_says(out), expected, 1e-6)


def test_a_whole_unet_loads_as_the_first_implementations_did(bases, whole, tmp_path):
    out = export(bases["sd1"], whole, tmp_path / "out")
    assert (out / "unet" / "config.json").is_file()
    expected = merged(tiny_pipeline(), whole)
    same(merged(tiny_pipeline(), out), expected, 0)
    same(loaded_as_the_card_says(out), expected, 0)
    half = export(bases["sd1"], whole, tmp_path / "half", "--dtype", "float16", "--strength", "0.5")
    tensors = load_file(half / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    expected = {name: tensor.half() for name, tensor in merged(tiny_pipeline(), whole, 0.5).items()}
    same(
        {f"unet.{name}": tensor for name, tensor in tensors.items()},
        {name: tensor for name, tensor in expected.items() if name.startswith("unet.")},
        0,
    )


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_single_file(kind, bases, whole, tmp_path):
    """The text encoder is CLIP in 1.x and OpenCLIP in 2.x, which has other names."""
    out = export(bases[kind], whole, tmp_path / "out", "--layout", "single_file")
    expected = merged(tiny_pipeline(kind), whole)
    same(loaded_as_the_card_says(out), expected, 0)
    again = PublishedWeights(out, pipeline=tiny_pipeline(kind))
    assert again.matched.used == len(tiny_pipeline(kind).unet.state_dict())
    same(
        {name: tensor for name, tensor in merged(tiny_pipeline(kind), out).items() if "unet" in name},
        {name: tensor for name, tensor in expected.items() if "unet" in name},
        0,
    )


def test_a_single_file_of_sdxl():
    pipeline = tiny_pipeline("sdxl")
    tensors = checkpoint(pipeline)
    first = "conditioner.embedders.0.transformer."
    theirs = {name.removeprefix(first): tensor for name, tensor in tensors.items() if name.startswith(first)}
    same(
        {name.removeprefix("text_model."): tensor for name, tensor in theirs.items()},
        dict(pipeline.text_encoder.state_dict()),
        0,
    )
    second = convert_open_clip_checkpoint(pipeline.text_encoder_2, tensors, prefix="conditioner.embedders.1.model.")
    same(second, dict(pipeline.text_encoder_2.state_dict()), 0)
    same(convert_ldm_vae_checkpoint(dict(tensors), pipeline.vae.config), dict(pipeline.vae.state_dict()), 0)


TRAINING = {
    "base_hash": "",
    "data": "0123456789abcdef",
    "data_size": 640,
    "samples_per_step": 32,
    "finished_steps": 200,
    "arguments": {"objective": "kto", "beta_dpo": 100.0, "dataset_name": "owner/pictures", "use_lora": False},
}
FIGURES = [
    {
        "method": method,
        "metric": "flaw rate",
        "group": "held out",
        "judge": "oracle",
        "value": value,
        "low": low,
        "high": high,
    }
    for method, value, low, high in (("base", 0.344, 0.3, 0.39), ("kto", 0.01, 0.0, 0.03))
]


def test_the_model_card(bases, whole, tmp_path, monkeypatch):
    """What it was trained on, with what, and what came of it; uploaded with the files."""
    training = TRAINING | {"base_hash": base_hash(tiny_pipeline())}
    (whole / "training.json").write_text(json.dumps(training))
    results = tmp_path / "results.json"
    results.write_text(json.dumps(FIGURES))
    uploaded = []

    class Hub:
        def create_repo(self, repository, exist_ok):
            address = type("Address", (str,), {"repo_id": f"me/{repository}"})
            return address(f"https://huggingface.co/me/{repository}")

        def upload_folder(self, repo_id, folder_path):
            uploaded.append((repo_id, sorted(file.name for file in Path(folder_path).rglob("*"))))

    monkeypatch.setattr(model_card, "HfApi", Hub)
    out = export(bases["sd1"], whole, tmp_path / "kto", "--results", str(results), "--push_to_hub")
    card = (out / "README.md").read_text()
    for line in (
        "library_name: diffusers",
        "# kto",
        "(kto)",
        "| data | owner/pictures, 640 samples, contents 0123456789abcdef |",
        "| objective | kto |",
        "| steps | 200 of 32 samples |",
        "| beta_dpo | 100.0 |",
        "| metric | of | judge | base | kto |",
        "| flaw rate | held out | oracle | 0.344 [0.300, 0.390] | 0.010 [0.000, 0.030] |",
        'unet = UNet2DConditionModel.from_pretrained("kto", subfolder="unet")',
    ):
        assert line in card
    assert "use_lora" not in card and str(tmp_path) not in card.replace(str(bases["sd1"]), "")
    assert uploaded == [("me/kto", ["README.md", "config.json", "diffusion_pytorch_model.safetensors", "unet"])]


def test_no_upload_without_a_connection(bases, lora, tmp_path, monkeypatch):
    class Hub:
        def create_repo(self, repository, exist_ok):
            raise httpx.ConnectError("no route to the hub")

    monkeypatch.setattr(model_card, "HfApi", Hub)
    with pytest.raises(UserError, match=r"out is written, but can't be uploaded to me/out \(no route.*\): log in by"):
        export(bases["sd1"], lora, tmp_path / "out", "--push_to_hub", "--hub_model_id", "me/out")
    assert (tmp_path / "out" / "pytorch_lora_weights.safetensors").is_file()


def test_what_can_not_be_exported(bases, whole, lora, tmp_path):
    with pytest.raises(UserError, match="holds whole weights, of which no LoRA can be made exactly"):
        export(bases["sd1"], whole, tmp_path / "out", "--layout", "kohya")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="run is there already"):
        export(bases["sd1"], lora, whole)
    with pytest.raises(UserError, match="single_file is for Stable Diffusion 1.x, 2.x and XL, not for"):
        checkpoint(tiny_pipeline("sd3"))
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(UserError, match="results.json holds no figures"):
        export(bases["sd1"], lora, tmp_path / "out", "--results", str(tmp_path / "results.json"))
