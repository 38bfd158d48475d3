"""What judges are asked about a picture, and the form of their answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from diffusion_base.errors import UserError
from scorers.feature_judge import FeatureJudge
from scorers.protocols import (
    AttributeFeatureScorer,
    AttributeScorer,
    FeatureScorer,
    Judge,
    PreferenceFeatureScorer,
    PreferenceScorer,
    ToxicityFeatureScorer,
    ToxicityScorer,
)


@dataclass(frozen=True)
class AttributeQuestion:
    """Which of some words fits the picture? The answer: `probabilities`, in the order of the choices, and `answer`."""

    question: str
    choices: tuple[str, ...]
    wording: str = ""
    """Put to judges that read, instead of the picture's prompt; `{choice}` stands for the choice."""

    def ask(self, judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, AttributeScorer):
            raise self._not_known(judge)
        return self._answers(judge.classify(images, self._put(prompts), self.choices))

    def ask_of_features(self, judge: FeatureScorer, features: Tensor, prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, AttributeFeatureScorer):
            raise self._not_known(judge)
        return self._answers(judge.classify_features(features, self._put(prompts), self.choices))

    def _put(self, prompts: Sequence[str]) -> Sequence[str]:
        return [self.wording] * len(prompts) if self.wording else prompts

    def _answers(self, probabilities: Tensor) -> list[dict]:
        probabilities = probabilities.double()
        return [
            {"answer": self.choices[best], "probabilities": [round(p, 6) for p in row]}
            for best, row in zip(probabilities.argmax(-1).tolist(), probabilities.tolist(), strict=True)
        ]

    def _not_known(self, judge: Judge | FeatureScorer) -> UserError:
        return UserError(f"{judge.name} cannot say which of {', '.join(self.choices)} fits; take another judge")


@dataclass(frozen=True)
class HarmQuestion:
    """Does the picture show this harm? The answer: `score` in [0, 1], and the judge's `threshold`."""

    question: str

    def ask(self, judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, ToxicityScorer):
            raise self._not_known(judge)
        return self._answers(judge.toxicity(images, self.question), judge.threshold)

    def ask_of_features(self, judge: FeatureScorer, features: Tensor, prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, ToxicityFeatureScorer):
            raise self._not_known(judge)
        return self._answers(judge.toxicity_features(features, self.question), judge.threshold)

    def _answers(self, scores: Tensor, threshold: float) -> list[dict]:
        return [{"score": round(score, 6), "threshold": threshold} for score in scores.double().tolist()]

    def _not_known(self, judge: Judge | FeatureScorer) -> UserError:
        return UserError(f"{judge.name} gives no scores for harms such as {self.question}; take another judge")


@dataclass(frozen=True)
class PreferenceQuestion:
    """How well would people like the picture for its prompt? The answer: `score`, on the judge's own scale."""

    question: str = "preference"

    def ask(self, judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, PreferenceScorer):
            raise self._not_known(judge)
        return self._answers(judge.preference(images, prompts))

    def ask_of_features(self, judge: FeatureScorer, features: Tensor, prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, PreferenceFeatureScorer):
            raise self._not_known(judge)
        return self._answers(judge.preference_features(features, prompts))

    def _answers(self, scores: Tensor) -> list[dict]:
        return [{"score": round(score, 6)} for score in scores.double().tolist()]

    def _not_known(self, judge: Judge | FeatureScorer) -> UserError:
        return UserError(f"{judge.name} does not know which pictures people prefer; take another judge")


Question = AttributeQuestion | HarmQuestion | PreferenceQuestion


def try_out(judge: Judge | FeatureJudge, question: Question) -> None:
    """Ask about a grey picture, so that what the judge does not know shows before any picture is made.

    Raises:
        UserError: the judge cannot answer such a question, or does not know its words.
    """
    grey, prompts = Image.new("RGB", (64, 64), "grey"), ["a photo of a person"]
    if isinstance(judge, FeatureJudge):
        pixels = judge.extractor.prepare(grey)[None]  # (1, 3, H, W)
        question.ask_of_features(judge.judge, judge.extractor.features(pixels), prompts)
    else:
        question.ask(judge, [grey], prompts)
