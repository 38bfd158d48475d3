"""ImageReward as published, small and written anew as functions of its state dict."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, multi_head_attention_forward

VISION, TEXT, HEAD_WIDTH = 128, 64, 64
LAYERS, PATCH, SIZE = 2, 8, 32


def random_image_reward(words: int) -> dict[str, Tensor]:
    """Random tensors under the published names; every bias and norm is random too."""
    shapes: dict[str, tuple[int, ...]] = {
        "blip.visual_encoder.cls_token": (1, 1, VISION),
        "blip.visual_encoder.pos_embed": (1, (SIZE // PATCH) ** 2 + 1, VISION),
        "blip.visual_encoder.patch_embed.proj.weight": (VISION, 3, PATCH, PATCH),
        "blip.visual_encoder.patch_embed.proj.bias": (VISION,),
        "blip.text_encoder.embeddings.word_embeddings.weight": (words, TEXT),
        "blip.text_encoder.embeddings.position_embeddings.weight": (48, TEXT),
    }

    def add_linear(name: str, out: int, width: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, width), (out,)

    def add_norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (width,), (width,)

    add_norm("blip.visual_encoder.norm", VISION)
    add_norm("blip.text_encoder.embeddings.LayerNorm", TEXT)
    for i in range(LAYERS):
        block = f"blip.visual_encoder.blocks.{i}"
        add_norm(f"{block}.norm1", VISION)
        add_norm(f"{block}.norm2", VISION)
        add_linear(f"{block}.attn.qkv", 3 * VISION, VISION)
        add_linear(f"{block}.attn.proj", VISION, VISION)
        add_linear(f"{block}.mlp.fc1", 2 * VISION, VISION)
        add_linear(f"{block}.mlp.fc2", VISION, 2 * VISION)
        layer = f"blip.text_encoder.encoder.layer.{i}"
        for attention, source in (("attention", TEXT), ("crossattention", VISION)):
            add_linear(f"{layer}.{attention}.self.query", TEXT, TEXT)
            add_linear(f"{layer}.{attention}.self.key", TEXT, source)
            add_linear(f"{layer}.{attention}.self.value", TEXT, source)
            add_linear(f"{layer}.{attention}.output.dense", TEXT, TEXT)
            add_norm(f"{layer}.{attention}.output.LayerNorm", TEXT)
        add_linear(f"{layer}.intermediate.dense", 2 * TEXT, TEXT)
        add_linear(f"{layer}.output.dense", TEXT, 2 * TEXT)
        add_norm(f"{layer}.output.LayerNorm", TEXT)
    widths = (TEXT, 1024, 128, 64, 16, 1)
    for number, width, out in zip((0, 2, 4, 6, 7), widths, widths[1:], strict=False):
        add_linear(f"mlp.layers.{number}", out, width)
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) * shape[-1] ** -0.5 for name, shape in shapes.items()}
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(48)[None]
    return state


def source_reward(state: dict[str, Tensor], pixels: Tensor, ids: Tensor) -> Tensor:
    """The raw reward of one picture (1, 3, H, W) and one prompt (1, T), no padding in it."""

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x: Tensor, name: str, eps: float) -> Tensor:
        return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def attend(x: Tensor, source: Tensor, weights: list[Tensor], biases: list[Tensor], name: str) -> Tensor:
        """(1, T, W) looks at (1, S, D)."""
        width = x.shape[-1]
        return multi_head_attention_forward(
            x.transpose(0, 1), source.transpose(0, 1), source.transpose(0, 1),
            width, width // HEAD_WIDTH, None, torch.cat(biases), None, None, False, 0.0,
            state[f"{name}.weight"], state[f"{name}.bias"], training=False, need_weights=False,
            use_separate_proj_weight=True,
            q_proj_weight=weights[0], k_proj_weight=weights[1], v_proj_weight=weights[2],
        )[0].transpose(0, 1)  # fmt: skip

    vision = "blip.visual_encoder"
    patches = conv2d(
        pixels, state[f"{vision}.patch_embed.proj.weight"], state[f"{vision}.patch_embed.proj.bias"], PATCH
    )
    x = torch.cat([state[f"{vision}.cls_token"], patches.flatten(2).mT], dim=1) + state[f"{vision}.pos_embed"]
    for i in range(LAYERS):
        block = f"{vision}.blocks.{i}"
        y = norm(x, f"{block}.norm1", 1e-6)
        fused = [list(state[f"{block}.attn.qkv.{part}"].chunk(3)) for part in ("weight", "bias")]
        x = x + attend(y, y, *fused, f"{block}.attn.proj")
        x = x + dense(gelu(dense(norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    seen = norm(x, f"{vision}.norm", 1e-6)

    text = "blip.text_encoder"
    words = state[f"{text}.embeddings.word_embeddings.weight"][ids]
    positions = state[f"{text}.embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = norm(words + positions, f"{text}.embeddings.LayerNorm", 1e-12)
    for i in range(LAYERS):
        layer = f"{text}.encoder.layer.{i}"
        for name, source in (("attention", None), ("crossattention", seen)):
            own = f"{layer}.{name}"
            parts = [
                [state[f"{own}.self.{p}.{kind}"] for p in ("query", "key", "value")] for kind in ("weight", "bias")
            ]
            looked = attend(x, x if source is None else source, *parts, f"{own}.output.dense")
            x = norm(x + looked, f"{own}.output.LayerNorm", 1e-12)
        y = dense(gelu(dense(x, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        x = norm(x + y, f"{layer}.output.LayerNorm", 1e-12)

    reward = x[0, 0]
    for number in (0, 2, 4, 6, 7):
        reward = dense(reward, f"mlp.layers.{number}")
    return reward.squeeze()
