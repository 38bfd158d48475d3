"""Bases load from a folder, frozen; what is missing or broken is named."""

import shutil

import huggingface_hub.constants
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.pipeline import load_pipeline
from tests.tiny import tiny_folder


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_load(tmp_path, kind):
    pipeline = load_pipeline(tiny_folder(tmp_path / kind, kind), device="cpu")
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)
    prediction_type = "v_prediction" if kind == "sd2" else "epsilon"
    trained_on = family_of(pipeline).forward_process(pipeline).scheduler
    assert trained_on.config.prediction_type == pipeline.scheduler.config.prediction_type
    assert pipeline.scheduler.config.prediction_type == prediction_type
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(trained_on.alphas_cumprod, pipeline.scheduler.alphas_cumprod)


@pytest.mark.parametrize(
    ("kind", "missing", "named"),
    [
        ("sd1", "unet", "unet"),
        ("sd1", "vae/diffusion_pytorch_model.safetensors", "vae"),
        ("sd1", "text_encoder/config.json", "text_encoder"),
        ("sd1", "tokenizer", "tokenizer"),
        ("sd1", "scheduler/scheduler_config.json", "scheduler"),
        ("sdxl", "text_encoder_2", "text_encoder_2"),
    ],
)
def test_missing_component_is_named(tmp_path, kind, missing, named):
    path = tiny_folder(tmp_path / "base", kind) / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"base lacks its {named}: no "):
        load_pipeline(tmp_path / "base")


def test_broken_folders(tmp_path):
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        load_pipeline(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="model.safetensors is a file, and a diffusers folder is needed"):
        load_pipeline(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="cannot be loaded: .*model_index.json"):
        load_pipeline(tmp_path)
    folder = tiny_folder(tmp_path / "base")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="base cannot be loaded: "):
        load_pipeline(folder)
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))
    with pytest.raises(UserError, match="is a FluxPipeline; the bases that can be used are Stable"):
        load_pipeline(folder)


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="--device cuda:7 can't be used here .*leave it out"):
        load_pipeline(tiny_folder(tmp_path / "base"), device="cuda:7")
    with pytest.raises(UserError, match="--device gpu can't be used here"):
        load_pipeline(tmp_path / "base", device="gpu")


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")  # diffusers' own
def test_name_that_is_neither_folder_nor_on_the_hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no/such-model is no folder, and from the hub it cannot be loaded: "):
        load_pipeline("no/such-model")
