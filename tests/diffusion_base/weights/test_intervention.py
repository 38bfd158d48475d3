"""Whole UNets and parts of them: found wherever they lie, put in, and out again without a trace."""

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from huggingface_hub.utils import httpx
from safetensors.torch import load_file, save_file

from diffusion_base.errors import UserError
from diffusion_base.identity import base_hash
from diffusion_base.intervention import load_intervention
from diffusion_base.training.reference import Reference
from diffusion_base.weights import PublishedWeights, locating
from diffusion_base.weights.intervention import put_in
from diffusion_base.weights.ldm import UNET_PREFIX, unet_names
from tests.diffusion_base.weights.layouts import parameters, random_lora, save_kohya
from tests.tiny import tiny_pipeline

PIPELINE = tiny_pipeline()
TUNED = tiny_pipeline(seed=1).unet


def state(suffixes=("",), contains=""):
    return {key: value for key, value in TUNED.state_dict().items() if key.endswith(suffixes) and contains in key}


def inside(weights, pipeline=PIPELINE, strength=1.0):
    with put_in(pipeline, weights.matched.edits, strength):
        return {name: parameter.detach().clone() for name, parameter in parameters(pipeline).items()}


def as_pickle(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


def with_variant(folder):
    half = {key: value.half() for key, value in TUNED.state_dict().items()}
    save_file(half, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")


def single_file(folder):
    names = unet_names(parameters(PIPELINE), PIPELINE.unet.config.layers_per_block)
    tensors = {f"{UNET_PREFIX}{names[key]}": value for key, value in TUNED.state_dict().items()}
    save_file(tensors | {"first_stage_model.encoder.conv_in.weight": torch.ones(1)}, folder / "tuned.safetensors")


WHOLE = {
    "in a subfolder": lambda folder: TUNED.save_pretrained(folder / "unet"),
    "at the root": lambda folder: TUNED.save_pretrained(folder),
    "a whole pipeline": lambda folder: tiny_pipeline(seed=1).save_pretrained(folder),
    "in shards": lambda folder: TUNED.save_pretrained(folder / "unet", max_shard_size="100KB"),
    "pickled": lambda folder: (TUNED.save_pretrained(folder / "unet"), as_pickle(folder)),
    "beside a half-precision variant": lambda folder: (TUNED.save_pretrained(folder / "unet"), with_variant(folder)),
    "a single-file checkpoint": single_file,
}


@pytest.mark.parametrize("layout", WHOLE)
@pytest.mark.filterwarnings("ignore")  # diffusers on pickles
def test_a_whole_unet(layout, tmp_path):
    WHOLE[layout](tmp_path)
    weights = PublishedWeights(tmp_path, pipeline=PIPELINE)
    assert weights.matched.used == len(TUNED.state_dict())
    assert weights.matched.unused == (["first_stage_model.encoder.conv_in.weight"] if "single" in layout else [])
    assert str(weights).endswith("nothing else is taken") == (layout == "a whole pipeline")
    now = inside(weights)
    assert all(now[name].equal(value) for name, value in TUNED.state_dict().items())


PARTS = {
    "UCE": ("uce.safetensors", state(("attn2.to_k.weight", "attn2.to_v.weight"))),
    "ESD-x": ("esd-VanGogh.safetensors", state(contains="attn2")),
    "ESD-u": ("esd-u.pt", {key: value for key, value in state().items() if "attn2" not in key}),
    "with a prefix, under state_dict": (
        "x.ckpt",
        {"state_dict": {f"unet.{k}": v for k, v in state(contains="mid").items()}},
    ),
}


@pytest.mark.parametrize("layout", PARTS)
def test_a_part_of_a_unet(layout, tmp_path):
    name, tensors = PARTS[layout]
    (save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / name)
    weights = PublishedWeights(tmp_path / name, pipeline=PIPELINE)
    wanted = {key.removeprefix("unet."): value for key, value in tensors.get("state_dict", tensors).items()}
    assert 0 < weights.matched.used == len(wanted) < len(state()) and not weights.matched.unused
    own = {key: parameter.detach().clone() for key, parameter in parameters(PIPELINE).items()}
    now = inside(weights)
    assert all(now[key].equal(wanted.get(key, own[key])) for key in own)
    half = inside(weights, strength=0.25)
    for key, value in wanted.items():
        torch.testing.assert_close(half[key], 0.75 * own[key] + 0.25 * value)
    with pytest.raises(UserError, match="strength 1.5: .* holds whole weights, .* strengths from 0 to 1 alone"):
        PublishedWeights(tmp_path / name, pipeline=PIPELINE, strength=1.5)


def test_former_linear_weights_fit_convolutions_of_one_pixel(tmp_path):
    name = "down_blocks.0.attentions.0.proj_in.weight"
    value = TUNED.state_dict()[name]
    assert value.ndim == 4
    save_file({name: value[:, :, 0, 0].contiguous()}, tmp_path / "part.safetensors")
    assert inside(PublishedWeights(tmp_path, pipeline=PIPELINE))[name].equal(value)


@pytest.fixture
def both(tmp_path):
    """A part and a LoRA that touch the same weights."""
    save_file(state(("attn2.to_k.weight",)), tmp_path / "part.safetensors")
    save_kohya(random_lora(), tmp_path / "lora.safetensors")
    return [PublishedWeights(tmp_path / f"{name}.safetensors", pipeline=PIPELINE) for name in ("part", "lora")]


def test_the_very_parameters_come_back_and_the_base_is_known_all_along(both):
    own, known = parameters(PIPELINE), base_hash(PIPELINE)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    with (
        pytest.raises(KeyError),
        put_in(PIPELINE, both[0].matched.edits, 1),
        put_in(PIPELINE, both[1].matched.edits, 1),
    ):
        change = random_lora().changed[name] - own[name]
        now = PIPELINE.unet.get_parameter(name)
        torch.testing.assert_close(now.detach(), TUNED.get_parameter(name) + change, rtol=0, atol=1e-6)
        assert not now.requires_grad
        assert base_hash(PIPELINE) == known
        raise KeyError
    assert all(parameter is own[key] for key, parameter in parameters(PIPELINE).items())
    assert base_hash(PIPELINE) == known
    same = tiny_pipeline()
    same.unet.load_state_dict(inside(both[0]))  # a base that truly has those weights is another
    assert base_hash(same) != known


def test_it_goes_into_the_reference_where_that_is_in_the_pipeline(both):
    pipeline = tiny_pipeline()
    policy, reference = pipeline.unet, Reference(pipeline)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    before = policy.get_parameter(name).clone()
    with reference(), put_in(pipeline, both[0].matched.edits, 1):
        assert pipeline.unet.get_parameter(name).equal(TUNED.get_parameter(name))
        assert policy.get_parameter(name).equal(before)
    assert reference.twin.get_parameter(name).equal(before)


def test_half_precision_is_rounded_once(both):
    """The sum is made in float32, whatever the base's precision."""
    pipeline = tiny_pipeline().to(torch.float16)
    own = {key: parameter.detach().clone() for key, parameter in parameters(pipeline).items()}
    lora = random_lora()
    now = inside(both[1], pipeline)
    for key, changed in lora.changed.items():
        expected = own[key].float() + (changed - parameters(PIPELINE)[key].detach())
        assert now[key].dtype == torch.float16
        torch.testing.assert_close(now[key].float(), expected, rtol=2**-10, atol=2**-14)


def test_a_command_line_names_it_and_is_told_what_is_used(both, tmp_path, capsys):
    weights = load_intervention(f"preference_finetuning:{tmp_path}?strength=0.5&weight_name=lora.safetensors", PIPELINE)
    assert weights.strength == 0.5
    assert weights.describe() == both[1].describe() | {"strength": 0.5}
    assert "96 of 96 tensors are used" in capsys.readouterr().err
    with pytest.raises(UserError, match="several files of weights: choose by weight_name= lora.safetensors or part"):
        load_intervention(f"preference_finetuning:{tmp_path}", PIPELINE)
    with pytest.raises(UserError, match="there is no other.pt in it"):
        load_intervention(f"preference_finetuning:{tmp_path}?weight_name=other.pt", PIPELINE)


def test_a_file_that_lies_deeper(tmp_path):
    (tmp_path / "sliders").mkdir()
    save_kohya(random_lora(), tmp_path / "sliders" / "age.pt")
    assert PublishedWeights(tmp_path, pipeline=PIPELINE, weight_name="sliders/age.pt").matched.used == 96
    with pytest.raises(UserError, match="has no weights: neither unet/ nor files of its own"):
        PublishedWeights(tmp_path, pipeline=PIPELINE)


def test_from_the_hub(tmp_path, monkeypatch):
    """Of a whole repository only what is used is loaded."""
    tiny_pipeline(seed=1).save_pretrained(tmp_path)
    names = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")]
    asked = []
    monkeypatch.setattr(locating, "list_repo_files", lambda repository: names if repository == "owner/tuned" else None)
    monkeypatch.setattr(locating, "hf_hub_download", lambda _, name: asked.append(name) or str(tmp_path / name))
    weights = PublishedWeights("owner/tuned", pipeline=PIPELINE)
    assert weights.matched.used == len(state()) and asked == ["unet/diffusion_pytorch_model.safetensors"]


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_connection_from_what_was_loaded_before(offline, tmp_path, monkeypatch):
    def no_connection(repository):
        raise httpx.ConnectError("no route to the hub")

    if offline:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(locating, "list_repo_files", no_connection)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    loaded = tmp_path / "models--owner--tuned"
    TUNED.save_pretrained(loaded / "snapshots" / "abc" / "unet")
    (loaded / "refs").mkdir()
    (loaded / "refs" / "main").write_text("abc")
    assert PublishedWeights("owner/tuned", pipeline=PIPELINE).matched.used == len(state())
    with pytest.raises(UserError, match="nobody/nothing is no file or folder here, and from the hub it can"):
        PublishedWeights("nobody/nothing", pipeline=PIPELINE)


@pytest.mark.parametrize("path", ["no/such/place", ""])
def test_no_such_place(path):
    with pytest.raises(UserError, match=f"{path or 'no path'}: there is no such file or folder"):
        PublishedWeights(path, pipeline=PIPELINE)


def test_a_run_of_this_repository_says_which_base_it_began_from(tmp_path):
    TUNED.save_pretrained(tmp_path / "unet")
    facts = {"base_hash": base_hash(PIPELINE)}
    (tmp_path / "training.json").write_text(json.dumps(facts))
    assert "warning" not in PublishedWeights(tmp_path, pipeline=PIPELINE).describe()
    other = tiny_pipeline(seed=3)
    with pytest.raises(UserError, match="was learned on another base"):
        PublishedWeights(tmp_path, pipeline=other)
    assert "warning" in PublishedWeights(tmp_path, pipeline=other, other_base=True).describe()


class Module(torch.nn.Linear):
    """What a pickle may hold."""


def test_a_pickle_of_more_than_tensors_is_not_opened(tmp_path):
    torch.save(Module(1, 1), tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(UserError, match=r"no weights that can be read without running code .* save its state_dict\(\)"):
        PublishedWeights(tmp_path, pipeline=PIPELINE)


@pytest.mark.parametrize("kind", ["sdxl", "smaller"])
def test_a_whole_unet_of_another_kind(kind, tmp_path):
    config = dict(TUNED.config) | {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    other = tiny_pipeline("sdxl").unet if kind == "sdxl" else UNet2DConditionModel.from_config(config)
    other.save_pretrained(tmp_path)
    message = {
        "sdxl": r"is for another base: .*attn2.to_k.weight for instance is \(8, 32\) there and \(8, 16\) here",
        "smaller": r"is a whole unet of another architecture: it lacks \d+ of this base's parameters, .*attentions",
    }
    with pytest.raises(UserError, match=message[kind]):
        PublishedWeights(tmp_path, pipeline=PIPELINE)


def test_another_architecture_of_denoiser(tmp_path):
    tiny_pipeline("sd3", seed=1).transformer.save_pretrained(tmp_path / "transformer")
    weights = PublishedWeights(tmp_path, pipeline=tiny_pipeline("sd3"))
    assert not weights.matched.unused
    with pytest.raises(UserError, match="none of its .* tensors is for this base"):
        PublishedWeights(tmp_path / "transformer", pipeline=PIPELINE)
