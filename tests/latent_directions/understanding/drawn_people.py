"""Pictures of the miniature's world, drawn and not generated, in the place of `pictures.make_pictures`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from miniature.drawing import render
from miniature.world import CATEGORY_OF, GENDERS, draw_person, gender_odds


def draw_pictures(pipeline, sentences: Sequence[str], folder: Path, *, images: int, **_) -> dict[str, list[Path]]:
    """Of "a photo of a kind pilot" people in the world's shares of men and women, as near as `images` allow."""
    rng, made = np.random.default_rng(0), {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, sentence in enumerate(sentences):
        phrase, _, tone = sentence.removeprefix("a photo of ").partition(" ")[2].partition(" with ")
        first, _, rest = phrase.partition(" ")
        adjective, subject = (first, rest) if first in CATEGORY_OF else (None, phrase)
        known = {"man": 0.0, "woman": 1.0}
        female = known[subject] if subject in known else gender_odds(subject, adjective)
        subject = "person" if subject in known else subject
        made[sentence] = [folder / f"{number}_{i}.png" for i in range(images)]
        for i, file in enumerate(made[sentence]):
            gender = GENDERS[int(i < round(female * images))]
            render(draw_person(rng, subject, adjective, gender=gender, **({"skin": tone} if tone else {}))).save(file)
    return made
