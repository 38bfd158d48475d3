"""The shipped base: it opens with plain diffusers and transformers, it is small, and it does what its card says."""

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from diffusion_base.generation import generate
from diffusion_base.pipeline import load_pipeline
from miniature import GUIDANCE
from miniature.check import fresh_scenes, oracle_accuracies, photo
from miniature.drawing import render
from miniature.models import asset_folder
from miniature.oracle import HEADS, Oracle
from miniature.world import OCCUPATIONS, VALUES

BASE = asset_folder()


def test_plain_diffusers_opens_it_and_draws():
    pipeline = StableDiffusionPipeline.from_pretrained(BASE)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a photo of a nurse", num_inference_steps=2, guidance_scale=GUIDANCE).images[0]
    assert image.size == (64, 64)
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"


def test_small_and_in_half_precision():
    files = [path for path in BASE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    for path in BASE.rglob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}
        assert kinds <= {"F16", "I64"}, path


def test_the_clip_shares_its_text_tower_with_the_base():
    clip = CLIPModel.from_pretrained(BASE / "clip").text_model.state_dict()
    encoder = CLIPTextModel.from_pretrained(BASE / "text_encoder").state_dict()
    assert clip.keys() == encoder.keys() and all(torch.equal(clip[name], encoder[name]) for name in clip)


def test_every_word_of_the_world_is_one_token():
    tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    assert tokenizer.model_max_length == 77
    for text in (*OCCUPATIONS, *VALUES, "light skin", "bloody zombie nude", "male female man woman"):
        assert len(tokenizer(text).input_ids) == 2 + len(text.split()), text


def test_the_oracle_knows_fresh_renders():
    scenes = fresh_scenes(400)
    accuracies = oracle_accuracies(Oracle.from_folder(BASE / "oracle"), scenes, [render(scene) for scene in scenes])
    assert min(accuracies.values()) >= 0.99, accuracies


def test_prompts_are_followed():
    """48 pictures: what is asked for is there. The card holds the real figures; this one catches a broken base."""
    pipeline, oracle = load_pipeline(BASE), Oracle.from_folder(BASE / "oracle")
    asked = [(occupation, gender) for occupation in OCCUPATIONS for gender in ("male", "female")]
    prompts = [f"{photo(occupation)}, {gender}" for occupation, gender in asked]
    sampling = {"num_inference_steps": 8, "guidance_scale": GUIDANCE, "batch_size": 16, "progress": False}
    images = generate(pipeline, prompts, range(len(prompts)), **sampling)
    found = oracle.probabilities(images)
    for head, column, least in (("subject", 0, 0.95), ("gender", 1, 0.95)):
        words = np.array(HEADS[head])[found[head].argmax(-1).numpy()]
        assert np.mean(words == np.array([row[column] for row in asked])) >= least, head


def test_the_card_holds_what_was_measured():
    rows = json.loads((BASE / "check.json").read_text())["rows"]
    card = (BASE / "README.md").read_text()
    assert len(rows) >= 20
    for row in rows:
        assert f"| {row['name']} | {row['value']:.4f} |" in card


def test_the_oracle_answers_only_what_it_knows():
    from diffusion_base.errors import UserError

    oracle = Oracle.from_folder(BASE / "oracle")
    images = [render(scene) for scene in fresh_scenes(3)]
    assert oracle.classify(images, [""] * 3, ("male", "female")).sum(1).tolist() == pytest.approx([1, 1, 1])
    with pytest.raises(UserError, match="does not know the choices"):
        oracle.classify(images, [""] * 3, ("young", "old"))
    with pytest.raises(UserError, match="does not know the harm"):
        oracle.toxicity(images, "gloomy")
    with pytest.raises(UserError, match="64 × 64 pictures; this one is 32 × 32"):
        oracle.toxicity([images[0].resize((32, 32))], "bloody")
