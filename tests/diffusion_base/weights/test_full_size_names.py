"""The names and shapes of published files at the size of Stable Diffusion 1.5, 2.x and XL, without their numbers."""

from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from diffusion_base.errors import UserError
from diffusion_base.weights.ldm import UNET_PREFIX, unet_names
from diffusion_base.weights.matching import match
from diffusion_base.weights.names import Names, Place
from tests.tiny import tiny_pipeline

SD2 = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
XL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
UNETS = {"sd1": {"cross_attention_dim": 768, "attention_head_dim": 8}, "sd2": SD2, "sdxl": XL}
PARAMETERS = {"sd1": 686, "sd2": 686, "sdxl": 1680}  # as their published files have them
ATTENTIONS = {"sd1": 16, "sd2": 16, "sdxl": 70}  # of each kind


@cache
def pipeline(kind):
    """A pipeline whose UNet and text encoders have names and shapes alone."""
    made = tiny_pipeline(kind)
    with torch.device("meta"):
        made.unet = UNet2DConditionModel(**UNETS[kind])
        made.text_encoder = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12))
        if kind == "sdxl":
            config = CLIPTextConfig(hidden_size=1280, num_hidden_layers=32, projection_dim=1280)
            made.text_encoder_2 = CLIPTextModelWithProjection(config)
    return made


@cache
def names(kind):
    return Names(pipeline(kind))


def shapes(kind):
    return dict(pipeline(kind).unet.state_dict())


def halves(shape, rank=4):
    out, *rest = shape
    kernel = (1,) * (len(rest) - 1)
    return torch.empty(rank, *rest, device="meta"), torch.empty(out, rank, *kernel, device="meta")


def lora(kind, called, wanted, alpha=None):
    """`called(layer, half)` gives a tensor's name, half being down or up."""
    tensors = {}
    for name, tensor in shapes(kind).items():
        layer = name.removesuffix(".weight")
        if name.endswith(".weight") and tensor.ndim > 1 and wanted(layer):
            for half, part in zip(("down", "up"), halves(tensor.shape), strict=True):
                tensors[called(layer, half)] = part
            if alpha:
                tensors[alpha(layer)] = torch.tensor(1.0)
    return tensors


def attention(layer):
    return layer.endswith(("to_q", "to_k", "to_v", "to_out.0"))


def flat(layer):
    return f"lora_unet_{layer}".replace(".", "_")


def by_attention_processor(layer, half):
    for old, new in {"attn1.": "attn1.processor.", "attn2.": "attn2.processor.", "to_out.0": "to_out"}.items():
        layer = layer.replace(old, new)
    return f"{layer}_lora.{half}.weight"


LORAS = {  # layout → names, layers, alphas, how many layers of 1.5 and XL that is
    "diffusers": (lambda layer, half: f"unet.{layer}.lora.{half}.weight", attention, None),
    "peft": (
        lambda layer, half: f"base_model.model.{layer}.lora_{'A' if half == 'down' else 'B'}.weight",
        attention,
        None,
    ),
    "align_sd": (by_attention_processor, attention, None),
    "kohya": (lambda layer, half: f"{flat(layer)}.lora_{half}.weight", attention, lambda layer: f"{flat(layer)}.alpha"),
    "concept slider": (
        lambda layer, half: f"{flat(layer)}.lora_{half}.weight",
        lambda layer: "attn" in layer or "resnets" in layer or "conv" in layer or "proj" in layer,
        lambda layer: f"{flat(layer)}.alpha",
    ),
}


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("layout", LORAS)
def test_loras(layout, kind):
    called, wanted, alpha = LORAS[layout]
    tensors = lora(kind, called, wanted, alpha)
    matched = match(tensors, names(kind), layout, {})
    assert matched.used == len(tensors) and not matched.unused
    layers = len(tensors) // (3 if alpha else 2)
    assert len(matched.edits) == layers
    if wanted is attention:
        assert layers == ATTENTIONS[kind] * 2 * 4


@pytest.mark.parametrize("kind", UNETS)
def test_whole_and_parts(kind):
    whole = shapes(kind)
    assert len(whole) == PARAMETERS[kind]
    uce = {name: tensor for name, tensor in whole.items() if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    assert len(uce) == 2 * ATTENTIONS[kind]
    esd_u = {name: tensor for name, tensor in whole.items() if "attn2" not in name}
    for tensors in (whole, uce, esd_u):
        matched = match(tensors, names(kind), "file", {})
        assert [place.name for place in matched.edits] == list(tensors) and not matched.unused


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_names_of_single_files_are_those_that_diffusers_reads(kind):
    whole, config = shapes(kind), pipeline(kind).unet.config
    ldm = unet_names(whole, config.layers_per_block)
    assert len(ldm) == len(set(ldm.values())) == PARAMETERS[kind]
    checkpoint = {f"{UNET_PREFIX}{ldm[name]}": name for name in whole}
    assert convert_ldm_unet_checkpoint(checkpoint, config) == {name: name for name in whole}
    matched = match({name: whole[own] for name, own in checkpoint.items()}, names(kind), "file", {})
    assert [place.name for place in matched.edits] == list(whole)


KOHYA_ON_SDXL = """
input_blocks_4_1_transformer_blocks_0_attn1_to_q       down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q
input_blocks_8_1_transformer_blocks_9_ff_net_0_proj    down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj
middle_block_1_transformer_blocks_3_attn2_to_out_0     mid_block.attentions.0.transformer_blocks.3.attn2.to_out.0
output_blocks_5_1_proj_out                             up_blocks.1.attentions.2.proj_out
input_blocks_3_0_op                                    down_blocks.0.downsamplers.0.conv
output_blocks_2_2_conv                                 up_blocks.0.upsamplers.0.conv
input_blocks_1_0_in_layers_2                           down_blocks.0.resnets.0.conv1
output_blocks_8_0_skip_connection                      up_blocks.2.resnets.2.conv_shortcut
middle_block_2_emb_layers_1                            mid_block.resnets.1.time_emb_proj
label_emb_0_2                                          add_embedding.linear_2
time_embed_0                                           time_embedding.linear_1
out_2                                                  conv_out
input_blocks_0_0                                       conv_in
"""


def test_kohyas_names_on_sdxl():
    """kohya's scripts train a UNet of LDM's names there."""
    for theirs, ours in (line.split() for line in KOHYA_ON_SDXL.strip().splitlines()):
        assert names("sdxl").weight(f"lora_unet_{theirs}") == Place("unet", f"{ours}.weight")
    second = names("sdxl").weight("lora_te2_text_model_encoder_layers_31_mlp_fc1")
    assert second == Place("text_encoder_2", "text_model.encoder.layers.31.mlp.fc1.weight")


def test_no_two_parameters_have_one_name():
    for kind in UNETS:
        found = names(kind)
        assert len({place for place in found.places.values()}) == len(found.shapes)
        for component in {place.component for place in found.shapes}:
            for place in found.of(component):
                assert found.places[component, place.name.replace(".", "_")] == place


def test_a_lora_of_sdxl_on_sd_15():
    called, wanted, alpha = LORAS["kohya"]
    message = r"unet.down_blocks.1.*attn2.to_k.weight for instance is \(640, 2048\) there and \(640, 768\) here"
    with pytest.raises(UserError, match=message):
        match(lora("sdxl", called, wanted, alpha), names("sd1"), "xl.safetensors", {})
