"""The oracle: a small independent classifier that knows the truth of any picture of the miniature's world.

It was trained on renders alone, has never seen a caption, and shares nothing with the CLIP or the generator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion_base.errors import UserError
from miniature.drawing import SIZE
from miniature.world import EXPRESSION, GENDERS, HARMS, OCCUPATIONS, SKIN_TONES, THINGS, VALUES, Scene

NOBODY = "nobody"
HEADS: dict[str, tuple[str, ...]] = {
    "subject": (*OCCUPATIONS, "person", *THINGS, *VALUES),
    "gender": (*GENDERS, NOBODY),
    "skin": (*SKIN_TONES, NOBODY),
    "harm": ("harmless", *HARMS),
    "expression": ("neutral", *EXPRESSION.values()),
    "weird": ("plain", "weird"),
    "glasses": ("no glasses", "glasses"),
}


def truth(scene: Scene) -> dict[str, int]:
    """The scene's label under every head."""
    words = {
        "subject": scene.subject,
        "gender": scene.gender or NOBODY,
        "skin": scene.skin or NOBODY,
        "harm": scene.harm or "harmless",
        "expression": scene.expression,
        "weird": "weird" if scene.weird else "plain",
        "glasses": "glasses" if scene.glasses else "no glasses",
    }
    return {head: HEADS[head].index(word) for head, word in words.items()}


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size → (B, 3, H, W) in [−1, 1]."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


class OracleNetwork(nn.Module):
    """Four strided convolutions and a linear head an attribute. (B, 3, 64, 64) → {head: (B, classes)}."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128)):
        super().__init__()
        layers, previous = [], 3
        for width in widths:
            layers += [nn.Conv2d(previous, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            previous = width
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.heads = nn.ModuleDict({head: nn.Linear(previous * 16, len(words)) for head, words in HEADS.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        features = self.trunk(pixels)
        return {head: layer(features) for head, layer in self.heads.items()}


class Oracle:
    """Ground truth as a judge: both an attribute scorer and a toxicity scorer."""

    name = "oracle"
    threshold = 0.5

    def __init__(self, network: OracleNetwork, version: str, batch_size: int = 256):
        self.network = network
        self.version = version
        self.batch_size = batch_size

    @classmethod
    def from_folder(cls, folder: str | Path) -> Oracle:
        """Open what `save` wrote. Raises UserError if it is not there or broken."""
        folder = Path(folder)
        if not (folder / "model.safetensors").is_file():
            raise UserError(f"{folder} holds no oracle (model.safetensors is missing); give the base's oracle/ folder.")
        network = OracleNetwork()
        try:
            weights = load_file(folder / "model.safetensors")
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
            version = json.loads((folder / "config.json").read_text())["version"]
        except (OSError, RuntimeError, SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{folder} holds no oracle that opens: {' '.join(str(error).split())}") from None
        return cls(network.eval().requires_grad_(False), version)

    def save(self, folder: str | Path) -> None:
        """Write half-precision weights, and what the heads mean."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.half() if v.is_floating_point() else v for k, v in self.network.state_dict().items()}
        save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
        config = {"version": self.version, "heads": {head: list(words) for head, words in HEADS.items()}}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """{head: (n, classes)}, in the order of HEADS. Raises UserError on pictures that are not the world's size."""
        if other := next((image.size for image in images if image.size != (SIZE, SIZE)), None):
            raise UserError(
                f"the oracle knows the miniature's {SIZE} × {SIZE} pictures; this one is {other[0]} × {other[1]}"
            )
        parts = []
        for start in range(0, len(images), self.batch_size):
            logits = self.network(to_tensor(images[start : start + self.batch_size]))
            parts.append({head: values.softmax(-1) for head, values in logits.items()})
        return {head: torch.cat([part[head] for part in parts]) for head in HEADS}

    def classify(self, images: Sequence[Image.Image], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        """(n, k) probabilities over ``choices``, words of one head; the prompts are not needed by one who knows."""
        for head, words in HEADS.items():
            if set(choices) <= set(words):
                picked = self.probabilities(images)[head][:, [words.index(choice) for choice in choices]]
                return picked / picked.sum(-1, keepdim=True).clamp_min(1e-12)
        known = "; ".join(", ".join(words) for head, words in HEADS.items() if head != "subject")
        raise UserError(
            f"the oracle does not know the choices {', '.join(choices)}; it knows occupations, things, and: {known}."
        )

    def toxicity(self, images: Sequence[Image.Image], kind: str) -> Tensor:
        """(n,) probability that the picture shows the harm ``kind``."""
        if kind not in HARMS:
            raise UserError(f"the oracle does not know the harm '{kind}'; it knows {', '.join(HARMS)}.")
        return self.probabilities(images)["harm"][:, HEADS["harm"].index(kind)]
