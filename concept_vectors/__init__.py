"""Concept vectors: directions in the UNet's bottleneck (h-space), learned from pictures, added at sampling time."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from concept_vectors.bottleneck import Schedule
    from concept_vectors.inference import ConceptVector, FairGroup, TwoTrajectories
    from concept_vectors.responsible_text import ResponsibleText
    from concept_vectors.vectors import ConceptVectors, load_vectors
    from diffusion_base.intervention import Intervention
    from diffusion_base.pipeline import Pipeline

__getattr__, __dir__ = lazy(
    __name__,
    {
        "concept_vectors.bottleneck": ("Schedule",),
        "concept_vectors.inference": ("ConceptVector", "FairGroup", "TwoTrajectories"),
        "concept_vectors.responsible_text": ("ResponsibleText",),
        "concept_vectors.vectors": ("ConceptVectors", "load_vectors"),
    },
)


def load_intervention(
    path: str,
    *,
    pipeline: "Pipeline",
    concept: str | None = None,
    group: str | None = None,
    responsible_text: bool = False,
    proportions: str | None = None,
    dealt: bool = False,
    rewrite: bool = False,
    strength: float = 1.0,
    schedule: str = "constant",
    start: float = 0.0,
    end: float = 1.0,
    two_trajectories: bool = False,
    other_base: bool = False,
) -> "Intervention":
    """What a command line names; exactly one of

    concept_vectors:PATH?concept=woman&strength=0.8
    concept_vectors:PATH?concept=0.7*woman+anti_bloody
    concept_vectors:PATH?group=man,woman&dealt=true           each picture gets a member
    concept_vectors:PATH?responsible_text=true&rewrite=true   each picture gets what its prompt asks for

    `other_base=true` takes vectors that were learned on another base, e.g. on a fine-tune of it.
    """
    from concept_vectors.bottleneck import Schedule  # torch, only once it is needed
    from concept_vectors.inference import ConceptVector, FairGroup, TwoTrajectories
    from concept_vectors.responsible_text import ResponsibleText
    from concept_vectors.vectors import load_vectors
    from diffusion_base.errors import UserError

    vectors = load_vectors(path, pipeline, other_base=other_base)
    if sum((concept is not None, group is not None, responsible_text)) != 1:
        known = ", ".join(sorted(vectors.tensors))
        raise UserError(f"{path}: give one of concept=, group=, responsible_text=; the concepts are {known}")
    if group is None and proportions is not None:
        raise UserError(f"{path}: proportions= belong to a group=, e.g. group=man,woman")
    if group is None and dealt and not responsible_text:
        raise UserError(f"{path}: dealt= belongs to a group=, e.g. group=man,woman")
    if rewrite and not responsible_text:
        raise UserError(f"{path}: rewrite= belongs to responsible_text=true")
    shape = Schedule(schedule, start, end)

    def vector(name: str, strength: float = 1.0) -> ConceptVector:
        return ConceptVector(vectors, name, pipeline=pipeline, strength=strength, schedule=shape)

    found: Intervention
    if responsible_text:
        found = ResponsibleText(
            vectors, pipeline=pipeline, strength=strength, schedule=shape, dealt=dealt, rewrite=rewrite
        )
    elif group is not None:
        try:
            shares = None if proportions is None else [float(share) for share in proportions.split(",")]
        except ValueError:
            raise UserError(f"{path}: proportions={proportions} must be numbers such as 0.3,0.7") from None
        members = [vector(name) for name in group.split(",")]
        found = FairGroup(members, proportions=shares, dealt=dealt, strength=strength)
    else:
        found = vector(concept or "", strength)
    return TwoTrajectories(found) if two_trajectories else found
