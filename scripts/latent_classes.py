"""The classes of prompts that scripts/latent_directions.sh collects, from the miniature's world.

python scripts/latent_classes.py --output_dir runs/latent_directions/classes
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from diffusion_base.arguments import parse
from diffusion_base.errors import run
from diffusion_base.files import write_text
from miniature.world import GENDERS, SKIN_TONES, TRAINING_OCCUPATIONS

TEMPLATE = "a photo of a {class} {subject}"
GENDER = {gender: gender for gender in GENDERS}
TONES = {tone.split()[0]: tone.replace(" ", "-") + "ned" for tone in SKIN_TONES}  # light: light-skinned
COLLECTIONS = {
    "gender": (GENDER, TRAINING_OCCUPATIONS),
    "tones": (TONES, TRAINING_OCCUPATIONS),
    "person": (GENDER, ("person",)),  # does a direction of a person work on all,
    "one": (GENDER, TRAINING_OCCUPATIONS[:1]),  # and one of a single occupation on others?
}


@dataclass
class Arguments:
    output_dir: Path = Path("runs/latent_directions/classes")
    """Where gender.yaml, tones.yaml, person.yaml and one.yaml go."""


def main(argv: Sequence[str] | None = None) -> Path:
    folder = parse(Arguments, argv, prog="latent_classes.py", description=__doc__).output_dir
    for name, (classes, subjects) in COLLECTIONS.items():
        content = {"classes": classes, "templates": [TEMPLATE], "subjects": list(subjects)}
        write_text(folder / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return folder


if __name__ == "__main__":
    run(main)
