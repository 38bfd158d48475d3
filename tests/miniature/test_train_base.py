"""The script that trains the base, at a thousandth of its length; and its pieces."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from miniature import check, models, train_base
from miniature.oracle import Oracle, OracleNetwork
from miniature.tasks import ContrastiveTask, DenoisingTask, SceneDataset, roughen


@pytest.mark.slow
def test_trains_a_base_that_opens_without_code_of_ours(tmp_path, monkeypatch):
    """Every stage runs, the parts land in the standard folders, a second call finds them done, check measures them."""
    out = str(tmp_path / "base")
    argv = f"--output_dir {out} --scale_steps 0.0003 --latents 64 --mixed_precision no".split()
    folder = train_base.main(argv)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    assert pipeline.unet.config.cross_attention_dim == pipeline.text_encoder.config.hidden_size
    before = (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert train_base.main(argv) == folder
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == before

    with pytest.raises(UserError, match="holds 64 scenes, not --latents 32"):
        train_base.main([*argv, "--latents", "32"])
    with pytest.raises(UserError, match="trained with other settings"):
        train_base.main([*argv, "--seed", "1"])

    monkeypatch.setattr(check, "generate", lambda *inputs, **o: generate(*inputs, **o | {"num_inference_steps": 2}))
    few = "--renders 40 --images_per_occupation 1 --asked_per_occupation 1".split()
    rows = check.main(["--pretrained_model_name_or_path", str(folder), *few])
    card = (folder / "README.md").read_text()
    assert len(rows) > 15 and all(row.name in card for row in rows)
    assert "**missed**" in card  # a base of three steps is no good, and the card says so


def test_compiled_is_the_same_network(monkeypatch):
    """Traced as for the compiler, which itself is left out: not every machine that runs the tests has one."""
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend="eager"))
    tokenizer = models.build_tokenizer()
    clip = models.build_clip(tokenizer)
    torch.manual_seed(0)
    unet = models.build_unet()
    batch = {
        "latents": torch.randn(2, 8, 8, 8), "caption": ["a cat", "a nurse"],
        "step": torch.tensor([0, 0]), "index": torch.tensor([0, 1]),
    }  # fmt: skip
    losses = [
        DenoisingTask(deepcopy(unet), models.text_encoder_of(clip), tokenizer, 1.0, compiled)(batch)[0]
        for compiled in (False, True)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)


def test_unknown_words_tokenise():
    tokenizer = models.build_tokenizer()
    for text in ("a photo of a nurse", "Zürich 🙂 quantum-éclair 漢字"):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id and ids.index(tokenizer.eos_token_id) == len(ids) - 1
    assert (
        len(tokenizer("gender equality, a police officer").input_ids) == 2 + 6
    )  # every word of the world is one token
    assert tokenizer.model_max_length == models.POSITIONS


def test_captions_of_the_same_words_are_matches():
    """Two pairs with one caption: each picture's target is ½, ½, so a CLIP that can't tell them apart loses log 2."""
    tokenizer = models.build_tokenizer()
    task = ContrastiveTask(models.build_clip(tokenizer).eval(), tokenizer)
    pixels = SceneDataset().item(0, np.random.default_rng(0))["pixels"].repeat(2, 1, 1, 1)
    loss, metrics = task({"pixels": pixels, "caption": ["a cat", "a cat"]})
    assert loss.tolist() == pytest.approx([0.6931, 0.6931], abs=1e-4)
    assert metrics["accuracy"].tolist() == [1, 1]


def test_roughening_depends_on_step_and_sample_alone():
    pixels = torch.rand(2, 3, 64, 64)
    both = roughen(pixels, torch.tensor([4, 4]), torch.tensor([1, 2]))
    alone = roughen(pixels[1:], torch.tensor([4]), torch.tensor([2]))
    assert torch.equal(both[1:], alone) and not torch.equal(both[1:], pixels[1:])


def test_oracle_survives_saving(tmp_path):
    with pytest.raises(UserError, match="holds no oracle"):
        Oracle.from_folder(tmp_path)
    oracle = Oracle(OracleNetwork(), "t")
    oracle.save(tmp_path)
    again = Oracle.from_folder(tmp_path)
    assert again.version == "t"
    for name, tensor in oracle.network.state_dict().items():
        assert torch.allclose(tensor.float(), again.network.state_dict()[name].float(), atol=1e-3)
