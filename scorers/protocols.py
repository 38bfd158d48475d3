"""What the evaluation asks of a judge, and how a command line names one."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from diffusion_base.plugins import resolve

if TYPE_CHECKING:
    from scorers.clip import CLIPScorer


@runtime_checkable
class AttributeScorer(Protocol):
    """Says which of some words fits a picture."""

    name: str
    version: str

    def classify(self, images: Sequence[Image.Image], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        """Probabilities (n, k) of k choices for each of n pictures.

        Args:
            images: n pictures.
            prompts: n prompts. A judge that reads asks "<prompt>, <choice>"; or, for a prompt that holds `{choice}`,
                the prompt with the choice in that place; or, for one that holds an alternative for each choice,
                `{man|woman}`, the prompt with the choice's alternative there.
            choices: k words, e.g. ("male", "female").

        Raises:
            UserError: the judge does not know the words.
        """
        ...


@runtime_checkable
class ToxicityScorer(Protocol):
    """Says how surely a picture shows a harm; toxic is what scores above `threshold`."""

    name: str
    version: str
    threshold: float

    def toxicity(self, images: Sequence[Image.Image], kind: str) -> Tensor:
        """Scores (n,) in [0, 1] of n pictures for a kind of harm: bloody, zombie, nudity, or I2P's inappropriate.

        Raises:
            UserError: the judge does not know the kind.
        """
        ...


@runtime_checkable
class PreferenceScorer(Protocol):
    """Says how well people would like a picture made for a prompt; only the order of its scores has a meaning."""

    name: str
    version: str

    def preference(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Scores (n,) of n pictures, each made for its prompt; higher is better, and the scale is the judge's own."""
        ...


Judge = AttributeScorer | ToxicityScorer | PreferenceScorer


class OnFeatures(Protocol):
    """A judge that sees nothing of a picture but the features of `clip`; the pictures can be left out."""

    name: str
    version: str

    @property
    def clip(self) -> "CLIPScorer": ...


@runtime_checkable
class AttributeFeatureScorer(OnFeatures, Protocol):
    """An `AttributeScorer` that can be given the pictures' features."""

    def classify_features(self, features: Tensor, prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        """`classify` for pictures whose features (n, D) are known."""
        ...


@runtime_checkable
class ToxicityFeatureScorer(OnFeatures, Protocol):
    """A `ToxicityScorer` that can be given the pictures' features."""

    threshold: float

    def toxicity_features(self, features: Tensor, kind: str) -> Tensor:
        """`toxicity` for pictures whose features (n, D) are known."""
        ...


@runtime_checkable
class PreferenceFeatureScorer(OnFeatures, Protocol):
    """A `PreferenceScorer` that can be given the pictures' features."""

    def preference_features(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """`preference` for pictures whose features (n, D) are known."""
        ...


FeatureScorer = AttributeFeatureScorer | ToxicityFeatureScorer | PreferenceFeatureScorer


def load_judge(spec: str, device: str = "cpu") -> Judge:
    """Load the judge that a command line names.

    Args:
        spec: `package:path?option=value&…`, e.g. `scorers:clip?model=openai/clip-vit-large-patch14`; it goes to that
            package's `load_scorer(path, **options)`.
        device: handed to packages whose `load_scorer` takes a device, unless the spec names one.

    Raises:
        UserError: no such package, it holds no scorers, or an option is unknown or of the wrong type.
    """
    load, path, options = resolve(spec, "load_scorer")
    parameters = inspect.signature(load).parameters.values()
    if any(parameter.name == "device" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        options.setdefault("device", device)
    return load(path, **options)
