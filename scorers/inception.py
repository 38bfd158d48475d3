"""The Inception network of FID, KID and IS: InceptionV3 as TensorFlow published it in 2015, with 1008 classes.

Its weights lie in `pt_inception-2015-12-05-6726825d.pth`, the file that pytorch-fid and torch-fidelity share; the
modules bear the names of that file. It differs from later InceptionV3s in its pooling (averages leave the padding out,
the last block takes maxima) and in what it is fed. Architecture: Szegedy et al., "Rethinking the Inception
Architecture for Computer Vision" (CVPR 2016).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

from diffusion_base.errors import UserError
from diffusion_base.identity import model_version
from diffusion_base.weights.files import read_state

CLASSES = 1008
SIDE = 299  # pixels


class Conv(NamedTuple):
    """A convolution without bias, batch normalisation and ReLU; stride 1 keeps the size, stride 2 pads nothing."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


class Pool(NamedTuple):
    """Pooling over 3 × 3; stride 1 keeps the size."""

    kind: str
    stride: int = 1


class Fork(NamedTuple):
    """Convolutions of the same input, side by side."""

    convs: tuple[Conv, ...]


Branch = tuple[Conv | Pool | Fork, ...]


def square(name: str, channels: int, side: int, stride: int = 1) -> Conv:
    return Conv(name, channels, (side, side), stride)


def block_a(pool_channels: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), square("branch5x5_2", 64, 5)),
        (Conv("branch3x3dbl_1", 64), square("branch3x3dbl_2", 96, 3), square("branch3x3dbl_3", 96, 3)),
        (Pool("average"), Conv("branch_pool", pool_channels)),
    )


def block_b() -> tuple[Branch, ...]:
    return (
        (square("branch3x3", 384, 3, 2),),
        (Conv("branch3x3dbl_1", 64), square("branch3x3dbl_2", 96, 3), square("branch3x3dbl_3", 96, 3, 2)),
        (Pool("maximum", 2),),
    )


def block_c(channels: int) -> tuple[Branch, ...]:
    row, column = (1, 7), (7, 1)
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", channels),
            Conv("branch7x7_2", channels, row),
            Conv("branch7x7_3", 192, column),
        ),
        (
            Conv("branch7x7dbl_1", channels),
            Conv("branch7x7dbl_2", channels, column),
            Conv("branch7x7dbl_3", channels, row),
            Conv("branch7x7dbl_4", channels, column),
            Conv("branch7x7dbl_5", 192, row),
        ),
        (Pool("average"), Conv("branch_pool", 192)),
    )


def block_d() -> tuple[Branch, ...]:
    return (
        (Conv("branch3x3_1", 192), square("branch3x3_2", 320, 3, 2)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            square("branch7x7x3_4", 192, 3, 2),
        ),
        (Pool("maximum", 2),),
    )


def block_e(pool: str) -> tuple[Branch, ...]:
    def fork(name: str) -> Fork:
        return Fork((Conv(f"{name}a", 384, (1, 3)), Conv(f"{name}b", 384, (3, 1))))

    return (
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), fork("branch3x3_2")),
        (Conv("branch3x3dbl_1", 448), square("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3")),
        (Pool(pool), Conv("branch_pool", 192)),
    )


# each with the channels that come in
BLOCKS = {
    "Mixed_5b": (192, block_a(32)),
    "Mixed_5c": (256, block_a(64)),
    "Mixed_5d": (288, block_a(64)),
    "Mixed_6a": (288, block_b()),
    "Mixed_6b": (768, block_c(128)),
    "Mixed_6c": (768, block_c(160)),
    "Mixed_6d": (768, block_c(160)),
    "Mixed_6e": (768, block_c(192)),
    "Mixed_7a": (768, block_d()),
    "Mixed_7b": (1280, block_e("average")),
    "Mixed_7c": (2048, block_e("maximum")),
}


class ConvUnit(nn.Module):
    def __init__(self, channels_in: int, conv: Conv, padded: bool = True):
        super().__init__()
        padding = tuple(side // 2 for side in conv.kernel) if padded and conv.stride == 1 else 0
        self.conv = nn.Conv2d(channels_in, conv.channels, conv.kernel, conv.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(conv.channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches over the same input, their channels concatenated."""

    def __init__(self, channels_in: int, branches: Sequence[Branch]):
        super().__init__()
        self.branches = branches
        for branch in branches:
            channels = channels_in
            for part in branch:
                if isinstance(part, Pool):
                    continue
                convs = part.convs if isinstance(part, Fork) else (part,)
                for conv in convs:
                    self.add_module(conv.name, ConvUnit(channels, conv))
                channels = convs[0].channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self.branches], dim=1)

    def _run(self, branch: Branch, x: Tensor) -> Tensor:
        for part in branch:
            if isinstance(part, Pool):
                x = pool(x, part)
            elif isinstance(part, Fork):
                x = torch.cat([self.get_submodule(conv.name)(x) for conv in part.convs], dim=1)
            else:
                x = self.get_submodule(part.name)(x)
        return x


def pool(x: Tensor, part: Pool) -> Tensor:
    padding = 1 if part.stride == 1 else 0
    if part.kind == "average":
        return avg_pool2d(x, 3, part.stride, padding, count_include_pad=False)
    return max_pool2d(x, 3, part.stride, padding)


class InceptionV3(nn.Module):
    """Pictures (n, 3, 299, 299), as `prepare` makes them, to the features of FID (n, 2048), called pool3."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, square("", 32, 3, 2))
        self.Conv2d_2a_3x3 = ConvUnit(32, square("", 32, 3), padded=False)
        self.Conv2d_2b_3x3 = ConvUnit(32, square("", 64, 3))
        self.Conv2d_3b_1x1 = ConvUnit(64, Conv("", 80))
        self.Conv2d_4a_3x3 = ConvUnit(80, square("", 192, 3), padded=False)
        for name, (channels, branches) in BLOCKS.items():
            self.add_module(name, Block(channels, branches))
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = max_pool2d(x, 3, 2)  # (n, 192, 35, 35)
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


class InceptionFeatures:
    """Inception as a feature extractor; see `scorers.features.FeatureExtractor`.

    Args:
        model: in any precision; features are float32.
    """

    name = "inception-v3"

    def __init__(self, model: InceptionV3):
        self.model = model.eval().requires_grad_(False)
        self.version = model_version(model, [])
        self.prepare: Callable[[Image.Image], Tensor] = prepare

    @classmethod
    def from_file(cls, path: str | Path, *, device: str = "cpu") -> "InceptionFeatures":
        """Load the published weights, or a safetensors file with the same names.

        Raises:
            UserError: no such file, not weights, or weights of another network.
        """
        model = InceptionV3()
        known = without_counters(model.state_dict())
        given = without_counters(read_state(path))
        wrong = [name for name, tensor in known.items() if name not in given or given[name].shape != tensor.shape]
        wrong += [name for name in given if name not in known]
        if wrong:
            name = wrong[0]
            has = f"is {tuple(given[name].shape)} there" if name in given else "is missing there"
            wants = f"must be {tuple(known[name].shape)}" if name in known else "must not be"
            raise UserError(
                f"{path} does not hold FID's InceptionV3: {name} {has} and {wants}; take "
                "pt_inception-2015-12-05-6726825d.pth of pytorch-fid (not torchvision's inception_v3)"
            )
        model.load_state_dict(given, strict=False)  # all but the counters, as just checked
        return cls(model.to(device))

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """pool3 (n, 2048), on the CPU, of prepared pictures (n, 3, 299, 299)."""
        weight = self.model.fc.weight
        # channels last: a third less time on a CPU
        pixels = pixels.to(weight.device, weight.dtype, memory_format=torch.channels_last)
        return self.model(pixels).float().cpu()

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Logits (n, 1008) without the bias, which IS is made of, from pool3 (n, 2048), in the features' precision."""
        return features @ self.model.fc.weight.to(features).T


def prepare(image: Image.Image) -> Tensor:
    """(3, 299, 299) float32 as the network knows pictures: 0…255 resized as TensorFlow 1 does, then (x − 128) / 128."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32)).permute(2, 0, 1)
    return (resize(pixels, SIDE, SIDE) - 128) / 128


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, (…, h, w) to (…, height, width), as TensorFlow 1 has it: corner to corner, no smoothing.

    Pixel i of the result lies at i · h / height of the original; beyond the last pixel that one is repeated.
    """
    for dim, size in ((-2, height), (-1, width)):
        place = torch.arange(size, dtype=torch.float32) * (x.shape[dim] / size)
        low = place.long()
        high = (low + 1).clamp_max(x.shape[dim] - 1)
        share = (place - low).reshape(-1, *[1] * (-1 - dim))
        x = torch.lerp(x.index_select(dim, low), x.index_select(dim, high), share)
    return x


def without_counters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Batch normalisation's step counters are in some copies of the file and not in others, and serve training only."""
    return {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
