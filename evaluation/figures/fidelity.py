"""FID, KID, CMMD and IS of features that are there already; each with every picture's influence on it.

KID is over all pictures instead of random subsets, so that it depends on no order and no seed; the expected value is
the same. IS is over ten splits, as published. CMMD is the published code's form: squared, each picture compared with
itself too (biased), times 1000; published values are by CLIP ViT-L/14 at 336 pixels.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

from evaluation.figures.distances import Distance, cubic, frechet_influence, gaussian, mmd2

SPLITS = 10  # of IS
CMMD_SCALE = 1000


def fid(x: Tensor, y: Tensor) -> Distance:
    """The Fréchet distance (Heusel et al. 2017) of features x (n, D) and y (m, D), float64, by torchmetrics."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    both = torch.cat([x, y]) - y.mean(0)  # the distance stays, and large means cost no digits
    if len(both) < both.shape[1]:
        both = both @ torch.linalg.qr(both.T).Q  # few pictures span few dimensions, and nothing lies outside
    x, y = both.split([len(x), len(y)])
    metric = FrechetInceptionDistance(Given(x.shape[1]), sync_on_compute=False)
    metric.update(y, real=True)
    metric.update(x, real=False)
    first, second = x.numpy(), y.numpy()
    return Distance(float(metric.compute()), frechet_influence(first, second), frechet_influence(second, first))


def kid(x: Tensor, y: Tensor) -> Distance:
    """The kernel distance (Bińkowski et al. 2018): squared MMD with a cubic kernel, unbiased, so it may be below 0."""
    return mmd2(x.numpy(), y.numpy(), cubic, biased=False)


def cmmd(x: Tensor, y: Tensor) -> Distance:
    """CLIP-MMD (Jayasumana et al. 2024) of unit vectors x (n, D) and y (m, D), float64."""
    value, influence, of_second = mmd2(x.numpy(), y.numpy(), gaussian, biased=True)
    return Distance(CMMD_SCALE * value, CMMD_SCALE * influence, CMMD_SCALE * of_second)


def inception_score(logits: Tensor) -> Distance:
    """IS (Salimans et al. 2016) of logits (n, 1008), float64, by torchmetrics.

    The splits are drawn from a fixed seed. The influences are those on the score of all pictures as one split.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features
        torch.default_generator.manual_seed(0)
        metric = InceptionScore(Given(logits.shape[1]), splits=SPLITS, sync_on_compute=False)
        metric.update(logits)
        value = float(metric.compute()[0])
    log_p = logits.log_softmax(1)
    divergence = (log_p.exp() * (log_p - log_p.exp().mean(0).log())).sum(1).numpy()
    return Distance(value, value * (divergence - divergence.mean()), np.empty(0))


class Given(torch.nn.Module):
    """Stands where torchmetrics wants a network: the features are given already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
