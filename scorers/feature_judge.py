"""Judges on CLIP's features: where several rest on the same CLIP, each picture goes through it once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scorers.aesthetic import AestheticScorer
from scorers.clip import CLIPScorer
from scorers.features import CLIPFeatures
from scorers.protocols import Judge
from scorers.q16 import Q16Scorer
from scorers.similarity import SimilarityScorer

OnFeatures: TypeAlias = CLIPScorer | Q16Scorer | SimilarityScorer | AestheticScorer


class FeatureJudge:
    """A judge that sees nothing of a picture but CLIP's features, and is shown these: the same name, version, answers.

    Args:
        folder: where the features are kept, for other judges and metrics to find.
    """

    def __init__(self, judge: OnFeatures, folder: Path):
        self.judge: Any = judge  # which of the questions below it can be asked depends on it
        self.extractor = CLIPFeatures(judge if isinstance(judge, CLIPScorer) else judge.clip)
        self.name, self.version, self.folder = judge.name, judge.version, folder

    @property
    def threshold(self) -> float:
        return self.judge.threshold

    def classify(self, features: Sequence[Tensor], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        """Probabilities (n, k) for n pictures' features, (D,) each; see `AttributeScorer`."""
        return self.judge.classify_features(torch.stack(list(features)), prompts, choices)

    def toxicity(self, features: Sequence[Tensor], kind: str) -> Tensor:
        """Scores (n,) for n pictures' features, (D,) each; see `ToxicityScorer`."""
        return self.judge.toxicity_features(torch.stack(list(features)), kind)

    def preference(self, features: Sequence[Tensor], prompts: Sequence[str]) -> Tensor:
        """Scores (n,) for n pictures' features, (D,) each; see `PreferenceScorer`."""
        return self.judge.preference_features(torch.stack(list(features)), prompts)


def by_features(judge: Judge, folder: Path) -> Judge:
    """The judge itself, or, where CLIP's features are all that it sees, one that is shown these, kept in the folder."""
    return FeatureJudge(judge, folder) if isinstance(judge, OnFeatures) else judge


def itself(judge: Judge) -> Judge:
    """The judge that looks at pictures, whether or not it is shown features."""
    return judge.judge if isinstance(judge, FeatureJudge) else judge
