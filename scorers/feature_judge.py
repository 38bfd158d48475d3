"""Judges on CLIP's features: where several rest on the same CLIP, each picture goes through it once."""

from dataclasses import dataclass
from pathlib import Path

from scorers.features import CLIPFeatures
from scorers.protocols import (
    AttributeFeatureScorer,
    FeatureScorer,
    Judge,
    PreferenceFeatureScorer,
    ToxicityFeatureScorer,
)


@dataclass(frozen=True)
class FeatureJudge:
    """A judge that sees nothing of a picture but CLIP's features, and the folder where these are kept.

    It is asked through `ask_of_features` of a question, and gives the answers that it gives about the pictures.
    """

    judge: FeatureScorer
    extractor: CLIPFeatures
    folder: Path

    @property
    def name(self) -> str:
        return self.judge.name

    @property
    def version(self) -> str:
        return self.judge.version


def on_features(judge: Judge, folder: Path) -> Judge | FeatureJudge:
    """The judge itself, or, where CLIP's features are all that it sees, with the folder where they are kept."""
    if not isinstance(judge, AttributeFeatureScorer | ToxicityFeatureScorer | PreferenceFeatureScorer):
        return judge
    return FeatureJudge(judge, CLIPFeatures(judge.clip), folder)
