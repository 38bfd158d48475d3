"""Turn the authors' published weights into a file of concept vectors.

    python -m concept_vectors.import_weights unet.pth concept_dict.json OUT

unet.pth is a state dict with the one key controlnet.fc1.weight, (1280·8·8, columns); concept_dict.json says whose each
column is. Columns without a name are left out.

The result has a tensor a concept, (1280, 8, 8), and applies to any Stable Diffusion 1.x base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Annotated

import tyro

from concept_vectors.dataset import read_concepts, read_json
from concept_vectors.vectors import FILE, ConceptVectors
from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import disk_errors
from diffusion_base.weights.files import read_state

KEY = "controlnet.fc1.weight"
CHANNELS = 1280  # of Stable Diffusion 1.x's mid block
TEXT_WIDTH = 768  # of its text conditioning


@dataclass
class Arguments:
    weights: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WEIGHTS")]
    """The published unet.pth."""
    concepts: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONCEPTS")]
    """The published concept_dict.json."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder to write concept_vectors.safetensors to, or a file that ends in .safetensors."""


def import_vectors(weights: Path, concepts: Path) -> ConceptVectors:
    """Read the published pair of files.

    Raises:
        UserError: a file that is missing or no such file, a key that is missing, or columns that the weights lack.
    """
    state = read_state(weights)
    if KEY not in state:
        raise UserError(f"{weights} has no {KEY}, where the vectors are; there is: {', '.join(state) or 'nothing'}")
    matrix = state[KEY].float()  # (C·h·w, columns)
    side = isqrt(matrix.shape[0] // CHANNELS) if matrix.ndim == 2 else 0
    if side == 0 or matrix.shape[0] != CHANNELS * side * side:
        raise UserError(f"{weights}: {KEY} has the shape {tuple(matrix.shape)}, not ({CHANNELS}·h·h, columns)")
    names, numbers = read_concepts(concepts), read_json(concepts)
    columns = matrix.shape[1]
    if beyond := next((name for name in names if not 0 <= numbers[name] < columns), None):
        raise UserError(f"{concepts}: {beyond!r} has the column {numbers[beyond]}, but {weights} has {columns} columns")
    tensors = {name: matrix[:, numbers[name]].reshape(CHANNELS, side, side) for name in names}
    if faulty := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
        raise UserError(f"{weights}: the column of {faulty!r} has numbers that are not finite; load the file anew")
    return ConceptVectors(tensors, None, TEXT_WIDTH, {"imported_from": weights.name})


def main(argv: Sequence[str] | None = None) -> Path:
    """Import, and return the file that was written."""
    arguments = parse(Arguments, argv, prog="python -m concept_vectors.import_weights", description=__doc__)
    vectors = import_vectors(arguments.weights, arguments.concepts)
    file = arguments.out if arguments.out.suffix == ".safetensors" else arguments.out / FILE
    with disk_errors(file, "make room, or choose another OUT"):
        file.parent.mkdir(parents=True, exist_ok=True)
        vectors.save(file)
    print(f"{file}: {', '.join(vectors.tensors)}")
    return file


if __name__ == "__main__":
    run(main)
