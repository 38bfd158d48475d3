"""The training tasks behind the miniature: autoencoder, CLIP, oracle and denoiser. Batch in, per-sample loss out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from diffusion_base import noising
from diffusion_base.identity import json_hash, tensor_hash
from diffusion_base.training.task import TrainingTask
from miniature.captions import caption
from miniature.drawing import render
from miniature.models import build_image_processor, build_scheduler
from miniature.oracle import HEADS, Oracle, OracleNetwork, to_tensor, truth
from miniature.world import draw_scene


class SceneDataset:
    """``length`` scenes, drawn anew from each item's own generator: pixels in [−1, 1], a caption, and the truth."""

    def __init__(self, length: int = 1_000_000):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def fingerprint(self) -> str:
        return json_hash({"scenes": self.length})

    def item(self, index: int, rng: np.random.Generator) -> dict:
        scene = draw_scene(rng)
        return {"pixels": to_tensor([render(scene)])[0], "caption": caption(scene, rng), **truth(scene)}


class LatentDataset:
    """The same ``len(latents)`` scenes at every epoch, encoded once; the wording of a caption changes."""

    def __init__(self, latents: Tensor, first_seed: int, caption_dropout: float = 0.1):
        self.latents, self.first_seed, self.caption_dropout = latents, first_seed, caption_dropout

    def __len__(self) -> int:
        return len(self.latents)

    def fingerprint(self) -> str:
        return json_hash([tensor_hash(self.latents), self.first_seed, self.caption_dropout])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        scene = draw_scene(np.random.default_rng(self.first_seed + index))
        text = "" if rng.random() < self.caption_dropout else caption(scene, rng)
        return {"latents": self.latents[index].float(), "caption": text}


class AutoencoderTask(TrainingTask):
    """L1, the squared error (which keeps small strong features such as eyes), and a light Kullback-Leibler term."""

    base_hash = "miniature"

    def __init__(self, vae: AutoencoderKL, kl_weight: float = 2e-4):
        super().__init__()
        self.vae, self.kl_weight = vae, kl_weight

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = batch["pixels"]
        posterior = self.vae.encode(pixels).latent_dist
        seed_noise = noising.draw_noise(posterior.mean.shape[1:], 1, batch["step"], batch["index"])
        decoded = self.vae.decode(posterior.mean + posterior.std * seed_noise.to(posterior.mean)).sample
        l1 = (decoded - pixels).abs().float().mean((1, 2, 3))
        kl = posterior.kl() / posterior.mean[0].numel()
        mse = (decoded - pixels).square().float().mean((1, 2, 3))
        return l1 + mse + self.kl_weight * kl, {"l1": l1.detach(), "kl": kl.detach()}

    def save(self, folder: Path) -> None:
        self.vae.save_pretrained(folder / "vae")


class ContrastiveTask(TrainingTask):
    """CLIP's symmetric cross-entropy. Captions that are the same words count as matches of each other."""

    base_hash = "miniature"

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer):
        super().__init__()
        self.clip, self.tokenizer = clip, tokenizer
        processor = build_image_processor()
        self.register_buffer("mean", torch.tensor(processor.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(processor.image_std).view(1, 3, 1, 1), persistent=False)

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = ((batch["pixels"] + 1) / 2 - self.mean) / self.std
        ids = self.tokenizer(batch["caption"], padding=True, truncation=True, return_tensors="pt").to(pixels.device)
        logits = self.clip(input_ids=ids.input_ids, pixel_values=pixels).logits_per_image.float()  # (B, B)
        same = torch.tensor([[a == b for b in batch["caption"]] for a in batch["caption"]], device=pixels.device)
        target = same.float() / same.sum(1, keepdim=True)
        loss = (
            F.cross_entropy(logits, target, reduction="none") + F.cross_entropy(logits.T, target, reduction="none")
        ) / 2
        return loss, {"accuracy": same.gather(1, logits.argmax(1, keepdim=True))[:, 0].float()}

    def save(self, folder: Path) -> None:
        self.clip.save_pretrained(folder / "clip")


class OracleTask(TrainingTask):
    """Cross-entropy summed over the heads, on renders roughened so that a decoded picture is nothing new."""

    base_hash = "miniature"

    def __init__(self, network: OracleNetwork):
        super().__init__()
        self.network = network

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = roughen(batch["pixels"], batch["step"], batch["index"])
        logits = self.network(pixels)
        losses = {head: F.cross_entropy(logits[head].float(), batch[head], reduction="none") for head in HEADS}
        return sum(losses.values()), {head: loss.detach() for head, loss in losses.items()}

    def save(self, folder: Path) -> None:
        Oracle(self.network, version="4").save(folder / "oracle")


def roughen(pixels: Tensor, steps: Tensor, indices: Tensor) -> Tensor:
    """Blurs, shades and adds noise to (B, 3, H, W), each by an amount drawn per sample; about half stay sharp."""
    draws = noising.draw_noise((4,), 2, steps, indices).to(pixels)
    amount = (draws[:, :2] / 2).clamp(0, 1).view(-1, 2, 1, 1, 1)
    pixels = torch.lerp(pixels, F.avg_pool2d(pixels, 3, stride=1, padding=1), amount[:, 0])
    pixels = pixels * (1 + 0.04 * draws[:, 2].view(-1, 1, 1, 1)) + 0.04 * draws[:, 3].view(-1, 1, 1, 1)
    return pixels + 0.08 * amount[:, 1] * noising.draw_noise(pixels.shape[1:], 3, steps, indices).to(pixels)


class DenoisingTask(TrainingTask):
    """The velocity's loss (Salimans & Ho 2022) of a latent diffusion model under a frozen text encoder.

    Args:
        compiled: `torch.compile` the network; on a CPU this takes a C++ compiler and halves a step's time.
    """

    base_hash = "miniature"

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scaling: float,
        compiled: bool = False,
    ):
        super().__init__()
        self.unet, self.text_encoder, self.tokenizer = unet, text_encoder.requires_grad_(False), tokenizer
        self.scaling = scaling
        self.process = noising.Diffusion(DDPMScheduler.from_config(build_scheduler().config))
        if compiled:
            self.unet.set_attn_processor(AttnProcessor())  # which the compiler fuses
            self.unet.compile()
            self.text_encoder.compile()

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        latents = batch["latents"] * self.scaling
        steps, indices = batch["step"].tolist(), batch["index"].tolist()
        timesteps = self.process.draw_timesteps(5, steps, indices)
        x = noising.noised(latents, self.process, seed=4, steps=steps, indices=indices, timesteps=timesteps)
        ids = self.tokenizer(batch["caption"], padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            context = self.text_encoder(ids.to(latents.device)).last_hidden_state
        return noising.per_sample_error(self.unet(x.x_t, x.t, context).sample, x.target), {}

    def save(self, folder: Path) -> None:
        self.unet.save_pretrained(folder / "unet")
