"""Encode pictures once and keep their latents: at 512 px an encode costs more than a pass through the UNet.

What is kept is the posterior (mean and log-variance) of the picture and of its mirror image, so that sampling from the
posterior and random flips survive. Random crops never repeat; they are encoded live.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from diffusion_base.data import load_image, mirror, square, to_tensor
from diffusion_base.errors import UserError
from diffusion_base.files import disk_errors, replacing
from diffusion_base.identity import content_keys, digest, weights_hash
from diffusion_base.noising import per_sample_generator
from diffusion_base.processes import process_state


@torch.no_grad()
def posterior_moments(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Mean and log-variance of q(z|x), (B, 2, C, h, w), for pixels (B, 3, H, W) in [−1, 1].

    A VAE whose configuration forbids float16 (`force_upcast`) computes in float32, whatever it and autocast are in.
    """
    device = vae.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if not (vae.config["force_upcast"] and torch.float16 in (vae.dtype, autocast)):
        return _moments(vae, pixels)
    half = vae.dtype == torch.float16
    try:
        with torch.autocast(device, enabled=False):
            return _moments(vae.float(), pixels)
    finally:
        if half:
            vae.half()  # as the pipeline, which decodes, expects it


def _moments(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    return torch.stack([posterior.mean, posterior.logvar], dim=1)


def sample_posterior(
    moments: Tensor, noise: Tensor, scaling_factor: float, shift_factor: float | None = None
) -> Tensor:
    """Latents (…, C, h, w) as the denoiser knows them, from moments (…, 2, C, h, w) and unit noise (…, C, h, w)."""
    mean, logvar = moments.float().unbind(-4)
    return (mean + (logvar / 2).exp() * noise - (shift_factor or 0.0)) * scaling_factor


def encode_live(vae: AutoencoderKL, pixels: Tensor, seed: int, steps: Sequence[int], indices: Sequence[int]) -> Tensor:
    """Sampled latents (B, C, h, w) of pixels (B, 3, H, W) that can't be cached; the randomness is each sample's own.

    Raises:
        UserError: latents that are not finite, in a half precision.
    """
    moments = posterior_moments(vae, pixels)
    if moments.dtype != torch.float32 and not (finite := moments.isfinite().flatten(1).all(1)).all():
        sample = indices[int(finite.int().argmin())]
        raise UserError(
            f"the picture of sample {sample} (the first is 0) has latents that are not finite in {moments.dtype}: this "
            "VAE needs --mixed_precision no"
        )
    generators = [per_sample_generator(seed, s, i, "posterior") for s, i in zip(steps, indices, strict=True)]
    noise = torch.stack([torch.randn(moments.shape[2:], generator=generator) for generator in generators])
    config = vae.config
    return sample_posterior(moments, noise.to(moments.device), config["scaling_factor"], config["shift_factor"])


class LatentCache:
    """Posterior moments on disk, one memory-mapped safetensors file a picture.

    A file's name is a hash of the picture's content, the VAE's weights and the transform: moved pictures are found
    again, changed ones are encoded again, and data sets may share a folder. The files have the VAE's precision.
    """

    def __init__(
        self, vae: AutoencoderKL, folder: Path, resolution: int, center_crop: bool = True, batch_size: int = 8
    ):
        """
        Args:
            folder: where the cache is kept.
            resolution: pictures are cut to squares of this many pixels.
            center_crop: False asks for random crops; then nothing is cached and `load` gives pixels.
            batch_size: pictures that are encoded together.
        """
        self.vae, self.folder, self.resolution, self.center_crop = vae, Path(folder), resolution, center_crop
        self.batch_size = batch_size
        self.scaling_factor: float = vae.config["scaling_factor"]
        self.shift_factor: float | None = vae.config["shift_factor"]
        self.contents: dict[Path, str] = {}  # sha256 of the pictures that `encode` was given
        self.files: dict[Path, Path] = {}

    def encode(self, paths: Iterable[Path]) -> None:
        """Encode what the cache does not hold yet; each of several processes takes its share.

        Raises:
            UserError: a missing, truncated or non-image file; latents that are not finite; no room on the disk.
        """
        state = process_state()
        paths = [Path(path) for path in dict.fromkeys(paths)]
        self.contents |= dict(zip(paths, content_keys(paths), strict=True))
        if not self.center_crop:
            state.print(
                "random crops can't be cached: every picture is encoded at every step (--center_crop avoids it)"
            )
            return
        transform = f"{weights_hash({'vae': self.vae})} {self.resolution} center"
        for path in paths:
            key = digest(f"{self.contents[path]} {transform}".encode())[:32]
            self.files[path] = self.folder / key[:2] / f"{key}.safetensors"
        with ThreadPoolExecutor() as pool:
            missing = {self.files[path]: path for path in paths if not self.files[path].exists()}
            state.wait_for_everyone()  # all have looked before any writes: the shares don't overlap
            share = list(missing.items())[state.process_index :: state.num_processes]
            with tqdm(
                total=len(share), desc="encoding pictures", unit="img", disable=not (share and state.is_main_process)
            ) as progress:
                for start in range(0, len(share), self.batch_size):
                    batch = share[start : start + self.batch_size]
                    pixels = list(pool.map(lambda item: to_tensor(square(load_image(item[1]), self.resolution)), batch))
                    # always full batches: the last bits of a latent must not depend on what was cached before
                    pixels += pixels[-1:] * (self.batch_size - len(batch))
                    self._encode_batch(batch, torch.stack(pixels))
                    progress.update(len(batch))
        state.wait_for_everyone()

    def moments(self, path: Path, mirrored: bool = False) -> Tensor:
        """Mean and log-variance (2, C, h, w) in float32 of an encoded picture or its mirror image."""
        file = self.files[Path(path)]
        try:
            with safe_open(file, framework="pt") as tensors:
                return tensors.get_slice("moments")[int(mirrored)].float()
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}, the cached latents of {path}, can't be read ({error}): delete it") from None

    def sample(self, moments: Tensor, generator: torch.Generator) -> Tensor:
        """Latents (…, C, h, w) drawn from the posterior and scaled as the VAE's configuration says; on the CPU."""
        shape = (*moments.shape[:-4], *moments.shape[-3:])
        noise = torch.randn(shape, generator=generator)
        return sample_posterior(moments, noise, self.scaling_factor, self.shift_factor)

    def load(self, path: Path, rng: np.random.Generator, random_flip: bool = False) -> Tensor:
        """One picture for training: latents (C, h, w); with random crops pixels (3, H, W), for `encode_live`."""
        mirrored = random_flip and rng.random() < 0.5
        if self.center_crop:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            return self.sample(self.moments(path, mirrored), generator)
        pixels = to_tensor(square(load_image(path), self.resolution, crop=(rng.random(), rng.random())))
        return mirror(pixels) if mirrored else pixels

    def _encode_batch(self, batch: list[tuple[Path, Path]], pixels: Tensor) -> None:
        both = torch.stack([pixels, mirror(pixels)], dim=1).flatten(0, 1)  # (2B, 3, H, W)
        moments = posterior_moments(self.vae, both).unflatten(0, (-1, 2)).cpu()  # (B, 2 picture/mirror, 2, C, h, w)
        for (file, path), one in zip(batch, moments, strict=False):  # the filled-up rows are dropped
            if not one.isfinite().all():
                raise UserError(f"{path}: its latents are not finite; load this VAE in another precision")
            with disk_errors(file), replacing(file) as partial:
                save_file({"moments": one.contiguous()}, partial)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"vae": None}  # loader workers only read
