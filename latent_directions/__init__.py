"""Latent directions: a step in the initial noise, along the normal of what separates two classes of latents."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from diffusion_base.intervention import Intervention
    from diffusion_base.pipeline import Pipeline
    from latent_directions.best_of_seeds import BestOfSeeds
    from latent_directions.directions import Directions, load_directions
    from latent_directions.inference import FairDirections, LatentDirection
    from latent_directions.weights import Weights, read_weights

__getattr__, __dir__ = lazy(
    __name__,
    {
        "latent_directions.best_of_seeds": ("BestOfSeeds",),
        "latent_directions.directions": ("Directions", "load_directions"),
        "latent_directions.inference": ("FairDirections", "LatentDirection"),
        "latent_directions.weights": ("Weights", "read_weights"),
    },
)


def load_intervention(
    path: str,
    *,
    pipeline: "Pipeline",
    direction: str | None = None,
    group: str | None = None,
    also: str | None = None,
    fit: str = "svm",
    step: int | None = None,
    weight: float = 10.0,
    units: str = "vector",
    weights: str | None = None,
    keep_norm: bool = False,
    proportions: str | None = None,
    dealt: bool = False,
    best_of: int | None = None,
    judge: str | None = None,
    harm: str | None = None,
    preview_steps: int = 4,
    strength: float = 1.0,
    other_base: bool = False,
) -> "Intervention":
    """What a command line names:

    latent_directions:PATH?direction=female&step=10&weight=6
    latent_directions:PATH?direction=female+dark&also=OTHER_PATH     a sum, of two files
    latent_directions:PATH?direction=female&weights=sweep/weights.json   a weight a subject
    latent_directions:PATH?group=male,female&dealt=true              each picture gets a member
    latent_directions:?best_of=8&judge=SPEC&group=male,female        of 8 noises the one whose preview the judge prefers

    In SPEC a `?` may stay and `&` is written %26. `units=noise` has weights in units of ‖z‖; `other_base=true` takes
    directions of another base, e.g. on a fine-tune.
    """
    from diffusion_base.errors import UserError
    from latent_directions.directions import load_directions  # torch, only once it is needed
    from latent_directions.inference import FairDirections, LatentDirection
    from latent_directions.weights import read_weights

    if group is None and (proportions is not None or dealt):
        raise UserError(f"{path}: proportions= and dealt= belong to a group=, e.g. group=male,female")
    try:
        shares = None if proportions is None else [float(share) for share in proportions.split(",")]
    except ValueError:
        raise UserError(f"{path}: proportions={proportions} must be numbers such as 0.3,0.7") from None
    names = group.split(",") if group else []
    if best_of is not None:
        from latent_directions.best_of_seeds import BestOfSeeds
        from scorers.protocols import load_judge

        if path or direction is not None or judge is None:
            raise UserError("best_of= needs a judge=, no path and no direction=: latent_directions:?best_of=8&judge=…")
        return BestOfSeeds(
            load_judge(judge, str(pipeline.device)),
            best_of,
            group=names,
            harm=harm,
            preview_steps=preview_steps,
            proportions=shares,
            dealt=dealt,
            strength=strength,
        )
    if judge is not None or harm is not None:
        raise UserError(f"{path}: judge= and harm= belong to best_of=, e.g. latent_directions:?best_of=8&judge=…")
    if (direction is None) == (group is None):
        raise UserError(f"{path}: give one of direction=, group=; e.g. direction=female or group=male,female")
    directions = load_directions(path, pipeline, other_base=other_base)
    if also is not None:
        directions = directions.joined(load_directions(also, pipeline, other_base=other_base))
    far = weight if weights is None else read_weights(weights)

    def one(name: str, strength: float = 1.0) -> LatentDirection:
        return LatentDirection(
            directions,
            name,
            pipeline=pipeline,
            fit=fit,
            step=step,
            weight=far,
            units=units,
            keep_norm=keep_norm,
            strength=strength,
        )

    if group is None:
        return one(direction or "", strength)
    return FairDirections([one(name) for name in names], proportions=shares, dealt=dealt, strength=strength)
