"""LiVO's value encoder: one extra token, learned from pairs of pictures, carries a value into the prompt."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from diffusion_base.pipeline import Pipeline
    from value_encoder.adaptive import AdaptiveValue
    from value_encoder.inference import ValueToken

__getattr__, __dir__ = lazy(
    __name__, {"value_encoder.adaptive": ("AdaptiveValue",), "value_encoder.inference": ("ValueToken",)}
)


def load_intervention(
    path: str,
    *,
    pipeline: "Pipeline",
    value: str | None = None,
    probability: float = 1.0,
    unpadded: bool = False,
    strength: float = 1.0,
    other_base: bool = False,
) -> "ValueToken":
    """The `ValueToken` that `value_encoder:path?value=gender equality&probability=0.5` on a command line names."""
    from value_encoder.inference import ValueToken  # torch and transformers, only once they are needed

    return ValueToken(
        path,
        value,
        pipeline=pipeline,
        probability=probability,
        unpadded=unpadded,
        strength=strength,
        other_base=other_base,
    )
