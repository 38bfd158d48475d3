"""A LoRA is the same change in every layout; diffusers and peft say which."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion_base.errors import UserError
from diffusion_base.weights import PublishedWeights
from diffusion_base.weights.intervention import put_in
from diffusion_base.weights.names import Place
from tests.diffusion_base.weights.layouts import (
    ATTENTION,
    CONVOLUTIONS,
    parameters,
    random_lora,
    save_attention_processors,
    save_diffusers,
    save_former_diffusers,
    save_kohya,
    save_peft,
)
from tests.tiny import tiny_pipeline

LAYOUTS = {
    "diffusers": (save_diffusers, "pytorch_lora_weights.safetensors"),
    "diffusers, another name": (save_diffusers, "spo_sdxl_10ep_4k-data_lora_diffusers.safetensors"),
    "former diffusers": (save_former_diffusers, "lora.safetensors"),
    "peft": (save_peft, "adapter_model.safetensors"),
    "kohya": (save_kohya, "last.safetensors"),
    "concept slider": (save_kohya, "age.pt"),
    "attention processors": (save_attention_processors, "adapted_model.bin"),
}
HOLD_ALPHA = ("diffusers", "peft", "kohya", "concept slider")
SDXL_ENCODERS = {"lora_te1": "text_encoder", "lora_te2": "text_encoder_2"}
PIPELINE = tiny_pipeline()


def changed_by(weights, strength=1.0, pipeline=PIPELINE):
    own = {name: parameter.detach() for name, parameter in parameters(pipeline).items()}
    with put_in(pipeline, weights.matched.edits, strength):
        now = {name: parameter.detach() for name, parameter in parameters(pipeline).items()}
    return {name: tensor for name, tensor in now.items() if tensor is not own[name] and not tensor.equal(own[name])}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alpha", [2, 1])
def test_every_layout_is_the_same_change(layout, alpha, tmp_path):
    """At alpha = rank all agree; at half of that those that say it are half as strong."""
    save, name = LAYOUTS[layout]
    lora = random_lora(alpha=alpha if layout in HOLD_ALPHA else 2)
    save(lora, tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        weights = PublishedWeights(path, pipeline=PIPELINE)
        assert weights.matched.used == len(lora.tensors) * (1.5 if save is save_kohya else 1)
        assert not weights.matched.unused
        changed = changed_by(weights)
        assert changed.keys() == lora.changed.keys()
        for parameter, tensor in changed.items():
            torch.testing.assert_close(tensor, lora.changed[parameter], rtol=0, atol=1e-6)


@pytest.mark.parametrize("save", [save_diffusers, save_peft, save_kohya])
def test_convolutions(save, tmp_path):
    lora = random_lora(targets=ATTENTION + CONVOLUTIONS, rank=3, alpha=6)
    assert any(tensor.ndim == 4 and tensor.shape[-1] == 3 for tensor in lora.tensors.values())
    save(lora, tmp_path / "lora.safetensors")
    changed = changed_by(PublishedWeights(tmp_path / "lora.safetensors", pipeline=PIPELINE))
    assert changed.keys() == lora.changed.keys()
    for parameter, tensor in changed.items():
        torch.testing.assert_close(tensor, lora.changed[parameter], rtol=0, atol=1e-6)


@pytest.mark.parametrize("save", [save_diffusers, save_peft])
def test_scales_that_differ_between_layers(save, tmp_path):
    lora = random_lora(alpha=8, patterns=True)
    save(lora, tmp_path / "lora.safetensors")
    changed = changed_by(PublishedWeights(tmp_path / "lora.safetensors", pipeline=PIPELINE))
    for parameter, tensor in changed.items():
        torch.testing.assert_close(tensor, lora.changed[parameter], rtol=0, atol=1e-6)


def test_strength_scales_the_difference_and_goes_beyond_one(tmp_path):
    lora = random_lora()
    save_kohya(lora, tmp_path / "lora.safetensors")
    weights = PublishedWeights(tmp_path / "lora.safetensors", pipeline=PIPELINE)
    own = parameters(PIPELINE)
    for strength in (0.5, 3.0, -1.0):
        for name, tensor in changed_by(weights, strength).items():
            expected = own[name] + strength * (lora.changed[name] - own[name])
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind, encoders", [("sd1", {"lora_te": "text_encoder"}), ("sdxl", SDXL_ENCODERS)])
def test_text_encoders_too(kind, encoders, tmp_path):
    """kohya's file of a UNet and its text encoders: each weight W becomes W + ½ up · down."""
    save_kohya(random_lora(kind), tmp_path / "lora.safetensors")
    tensors, expected, pipeline = load_file(tmp_path / "lora.safetensors"), {}, tiny_pipeline(kind)
    for number, (prefix, encoder) in enumerate(encoders.items()):
        layer = f"{prefix}_text_model_encoder_layers_1_self_attn_q_proj"
        down, up = torch.full((2, 16), number + 0.1), torch.full((16, 2), 0.3)
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        tensors[f"{layer}.alpha"] = torch.tensor(1.0)
        own = next(
            (name, parameter)
            for name, parameter in getattr(pipeline, encoder).named_parameters()
            if name.endswith("layers.1.self_attn.q_proj.weight")
        )
        expected[Place(encoder, own[0])] = own[1] + 0.5 * 2 * 0.3 * (number + 0.1)
    save_file(tensors, tmp_path / "lora.safetensors")
    weights = PublishedWeights(tmp_path / "lora.safetensors", pipeline=pipeline)
    assert weights.matched.used == len(tensors) and not weights.matched.unused
    assert {place for place in weights.matched.edits if place.component != "unet"} == expected.keys()
    with put_in(pipeline, weights.matched.edits, 1.0):
        for place, tensor in expected.items():
            module, attribute = place.owner(pipeline)
            torch.testing.assert_close(getattr(module, attribute).detach(), tensor, rtol=0, atol=1e-6)


def test_beside_a_lora_that_the_user_has_loaded(tmp_path):
    """Such as one for few steps, which wraps the layers and stays on."""
    lora = random_lora()
    save_diffusers(lora, tmp_path / "lora.safetensors")
    pipeline = tiny_pipeline()
    pipeline.load_lora_weights(tmp_path / "lora.safetensors", adapter_name="mine")
    weights = PublishedWeights(tmp_path / "lora.safetensors", pipeline=pipeline)
    assert not weights.matched.unused
    with put_in(pipeline, weights.matched.edits, 1.0):
        for name, tensor in lora.changed.items():
            layer = pipeline.unet.get_submodule(name.removesuffix(".weight"))
            torch.testing.assert_close(layer.base_layer.weight, tensor, rtol=0, atol=1e-6)
            assert "mine" in layer.lora_A


def test_what_is_not_used_is_counted_and_named(tmp_path):
    lora = random_lora()
    save_kohya(lora, tmp_path / "lora.safetensors")
    tensors = load_file(tmp_path / "lora.safetensors")
    other = {f"lora_te2_x.lora_{half}.weight": torch.ones(2, 2) for half in ("down", "up")} | {"noise": torch.ones(1)}
    save_file(tensors | other, tmp_path / "lora.safetensors")
    matched = PublishedWeights(tmp_path / "lora.safetensors", pipeline=PIPELINE).matched
    assert matched.unused == ["lora_te2_x.lora_down.weight", "lora_te2_x.lora_up.weight", "noise"]
    assert str(matched) == (
        f"{len(tensors)} of {len(tensors) + 3} tensors are used, for {len(lora.layers)} parameters of the unet "
        "(low-rank differences); not used are 2 named lora_te2…, 1 named noise…"
    )


def broken(tensors, how):
    layer = next(name for name in tensors if name.endswith("lora_down.weight")).removesuffix(".lora_down.weight")
    match how:
        case "half":
            del tensors[f"{layer}.lora_up.weight"]
        case "DoRA":
            tensors[f"{layer}.dora_scale"] = torch.ones(8, 1)
        case "twice":
            halves = {half: tensors[f"{layer}.lora_{half}.weight"].clone() for half in ("down", "up")}
            name = next(
                name for name in parameters(PIPELINE) if f"lora_unet_{name}".replace(".", "_") == f"{layer}_weight"
            )
            tensors |= {f"{name.removesuffix('.weight')}.lora.{half}.weight": half_ for half, half_ in halves.items()}
        case "nothing":
            tensors = {f"other.{name}": tensor for name, tensor in tensors.items()}
    return tensors


@pytest.mark.parametrize(
    "how, message",
    [
        ("half", "is there, but not the layer's up half"),
        ("DoRA", "dora_scale is more than plain LoRA has"),
        ("twice", "twice, the second time as"),
        ("nothing", "none of its 96 tensors is for this base, .* their names are such as other.lora_unet"),
    ],
)
def test_what_would_pass_silently_elsewhere_is_refused(how, message, tmp_path):
    save_kohya(random_lora(), tmp_path / "lora.safetensors")
    save_file(broken(load_file(tmp_path / "lora.safetensors"), how), tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=message):
        PublishedWeights(tmp_path / "lora.safetensors", pipeline=PIPELINE)


def test_a_lora_of_another_base_is_refused_by_shapes(tmp_path):
    save_diffusers(random_lora("sdxl"), tmp_path / "lora.safetensors")
    message = r"is for another base: .*unet\..*attn2.to_k.weight for instance is \(8, 32\) there and \(8, 16\) here"
    with pytest.raises(UserError, match=message):
        PublishedWeights(tmp_path / "lora.safetensors", pipeline=PIPELINE)


def test_a_damaged_configuration_is_named(tmp_path):
    save_peft(random_lora(), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match="what is said there of the LoRA's scale is damaged"):
        PublishedWeights(tmp_path, pipeline=PIPELINE)
