"""The head that ImageReward and the LAION aesthetic predictor share: five linear layers in a row."""

from torch import nn

HIDDEN = (1024, 128, 64, 16)


def reward_head(width: int) -> nn.Sequential:
    """(B, width) → (B, 1). Where the published one has dropout in training stands nothing, under the same numbers."""
    layers: list[nn.Module] = []
    for i, hidden in enumerate(HIDDEN):
        layers.append(nn.Linear(width, hidden))
        if i < len(HIDDEN) - 1:
            layers.append(nn.Identity())
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, 1))
