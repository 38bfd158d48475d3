"""How much is saved where a linear SVM on latents is fitted through their n×n Gram matrix.

    python benchmarks/svm_fit.py --latents 1000 --shape 4 128 128

Pairs of noises, a little apart, as `latent_directions/collect.py` leaves them: in half precision. The fit of
`latent_directions/fit.py` (Gram matrix, libsvm on it, normal) against scikit-learn's plain `SVC(kernel="linear")`,
which the first implementation takes, on the same latents: seconds, and the cosine of the two normals. What the fit
holds besides the latents is measured in a process of its own.
"""

import multiprocessing
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor

from diffusion_base.arguments import Count, Positive, parse
from diffusion_base.errors import UserError, run
from latent_directions.solvers import Labels, gram, normals, svm


@dataclass
class Arguments:
    latents: Count = 200
    """How many, an even number: half of either class."""
    shape: tuple[Count, Count, Count] = (4, 64, 64)
    """Channels, height and width; Stable Diffusion XL has 4 128 128."""
    repeats: Count = 3
    """Of either fit, in turns; the quickest counts."""
    apart: Positive = 3.0
    """How far the classes lie apart; a noise has about √(C·h·w) for its length."""

    def __post_init__(self) -> None:
        if self.latents % 2:
            raise UserError(f"--latents {self.latents}: it must be an even number, for they come in pairs")


def make_latents(count: int, size: int, apart: float) -> tuple[Tensor, Labels]:
    """(n, D) in half precision, and which are of the second class."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(size, generator=generator)
    rows = torch.empty(count, size, dtype=torch.float16)
    for i in range(count // 2):
        noise = torch.randn(size, generator=generator)
        rows[i], rows[count // 2 + i] = noise, noise + apart * direction / direction.norm()
    return rows, np.arange(count) >= count // 2


def through_gram(latents: Tensor, positive: Labels) -> Tensor:
    """The normal (D,)."""
    return normals(latents, svm(gram(latents), positive).a[:, None])[:, 0]


def warm_up(apart: float) -> None:
    """What libraries need once, in time and memory, comes before either fit."""
    latents, positive = make_latents(8, 4096, apart)
    through_gram(latents, positive)
    SVC(kernel="linear").fit(latents.numpy(), positive)


def peak_bytes() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in kilobytes


def bytes_besides(arguments: Arguments) -> int:
    """What the fit holds beside the latents at most; for a process that has done nothing else."""
    warm_up(arguments.apart)
    latents, positive = make_latents(arguments.latents, prod(arguments.shape), arguments.apart)
    before = peak_bytes()
    through_gram(latents, positive)
    return peak_bytes() - before


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    arguments = parse(Arguments, argv, prog="benchmarks/svm_fit.py", description=__doc__)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        besides = pool.apply(bytes_besides, (arguments,))
    n, size = arguments.latents, prod(arguments.shape)
    latents, positive = make_latents(n, size, arguments.apart)
    warm_up(arguments.apart)
    x = latents.numpy().astype(np.float64)  # as scikit-learn would make of any other precision
    ours, theirs = [], []
    for _ in range(arguments.repeats):  # in turns, so that whatever else runs here slows both
        start = time.perf_counter()
        normal = through_gram(latents, positive).numpy()
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        plain = SVC(kernel="linear").fit(x, positive).coef_[0]
        theirs.append(time.perf_counter() - start)
    fast, slow = min(ours), min(theirs)
    cosine = float(normal @ plain / (np.linalg.norm(normal) * np.linalg.norm(plain)))
    own, square, mib = latents.nbytes, 8 * n * n, 2**20
    print(
        f"{n} latents of {'×'.join(map(str, arguments.shape))}: by the Gram matrix {fast:.2f} s, plain {slow:.2f} s, "
        f"{slow / fast:.1f} times as long; cosine of the normals {cosine:.7f}; held besides the latents' own "
        f"{own / mib:.0f} MiB: {besides / mib:.0f} MiB, {besides / square:.1f} n² numbers (plain: {x.nbytes / mib:.0f} "
        "MiB for the latents in double precision alone)"
    )
    return {"times": slow / fast, "cosine": cosine, "latents": own, "besides": besides, "square": square}


if __name__ == "__main__":
    run(main)
