"""What the text encoder and the pictures tie to a concept: TERU and VERU.

    python -m latent_directions.understanding.embeddings --pretrained_model_name_or_path BASE \\
        --concept "wealthy person" --attributes attributes.txt --output_dir runs/wealth

The file has an attribute a line. TERU is the cosine of the texts' embeddings ("a photo of a wealthy person"), VERU that
of the pictures made from them, the mean over all pairs. An interrupted run goes on where it stopped.

Source: Lopez Olmos et al., "Latent Directions: A Simple Pathway to Bias Mitigation in Generative AI" (CVPRW 2024).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch

from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, WholeNumber, check_ranges, parse, to_dict
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_json
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from latent_directions.understanding import charts
from latent_directions.understanding.groups import read_words
from latent_directions.understanding.pictures import image_features, make_pictures
from latent_directions.understanding.similarity import Relation, relations
from latent_directions.understanding.tables import aligned, write_table
from scorers.clip import VIT_L14, CLIPScorer, ask

WORDING = "a photo of a {choice}"


@dataclass(kw_only=True)
class Arguments:
    concept: str
    """What is looked at, e.g. "wealthy person"."""
    attributes: Path
    """Text file, an attribute a line, e.g. "african person"."""
    output_dir: Path
    """Where similarities.csv, similarities.json and the charts go, and the pictures."""
    base: BaseArguments = field(default_factory=BaseArguments)
    wording: str = WORDING
    """The sentence about the concept and each attribute, which stand in the place of {choice}."""
    images: Count = 16
    """Pictures of the concept, and of each attribute."""
    seed: WholeNumber = 0
    """Another one makes other pictures."""
    clip: str = VIT_L14
    """CLIP whose text encoder and image encoder compare: best one whose text encoder the base has, too. A folder or a
    hub id."""
    sampling: SamplingArguments = field(default_factory=SamplingArguments)

    def __post_init__(self) -> None:
        check_ranges(self)
        if "{choice}" not in self.wording:
            raise UserError(f"--wording {self.wording!r} must hold {{choice}}, where the concept stands")


def concept_relations(
    pipeline: Pipeline,
    clip: CLIPScorer,
    concept: str,
    attributes: Sequence[str],
    folder: Path,
    *,
    wording: str = WORDING,
    images: int = 16,
    seed: int = 0,
    sampling: SamplingArguments,
) -> list[Relation]:
    """How near each attribute is to a concept, by texts and by pictures of the base, which are kept in `folder`.

    Args:
        clip: its encoders compare.
        concept, attributes: words that stand in the place of {choice} in `wording`, the concept not among the others.
        images: pictures of each.
    """
    texts = [ask(wording, of) for of in (concept, *attributes)]
    pictures = make_pictures(pipeline, texts, folder / "pictures", images=images, seed=seed, sampling=sampling)
    seen = image_features(pictures, clip, folder / "features")
    text, *others = clip.text_features(texts)
    of_concept, *of_attributes = (seen[text] for text in texts)
    return relations(attributes, text, torch.stack(others), of_concept, of_attributes)


def write_relations(folder: Path, concept: str, found: Sequence[Relation]) -> None:
    """similarities.json and similarities.csv, an attribute a row, the nearest in the text encoder's space first."""
    rows = [{"concept": concept, **asdict(of)} for of in sorted(found, key=lambda of: -of.text)]
    write_table(folder / "similarities", rows, ["concept", *(of.name for of in fields(Relation))])


def write_charts(folder: Path, concept: str, found: Sequence[Relation]) -> None:
    """scatter.png, bars.png and, of three attributes or more, radar.png."""
    charts.save(charts.scatter(concept, found), folder / "scatter.png")
    charts.save(charts.similarity_bars(concept, found), folder / "bars.png")
    if len(found) > 2:
        charts.save(charts.radar(concept, found), folder / "radar.png")


def table(found: Sequence[Relation]) -> str:
    """The relations as text in columns."""
    rows = [["attribute", "text", "pictures", "", ""]]
    for of in sorted(found, key=lambda of: -of.text):
        limits = "" if of.low is None else f"[{of.low:.3f}, {of.high:.3f}]"
        rows.append([of.attribute, f"{of.text:.3f}", f"{of.image:.3f}", limits, "misaligned" if of.misaligned else ""])
    return aligned(rows)


def main(argv: Sequence[str] | None = None) -> Path:
    """Make the pictures, compare, and return the folder."""
    arguments = parse(Arguments, argv, prog="python -m latent_directions.understanding.embeddings", description=__doc__)
    out, state = arguments.output_dir, process_state()
    attributes = read_words(arguments.attributes, "attributes")
    if arguments.concept in attributes:
        raise UserError(f"--concept {arguments.concept!r} is an attribute, too: take it out of {arguments.attributes}")
    clip = CLIPScorer.from_pretrained(arguments.clip, device=str(state.device))
    found = concept_relations(
        arguments.base.load(state.device),
        clip,
        arguments.concept,
        attributes,
        out,
        wording=arguments.wording,
        images=arguments.images,
        seed=arguments.seed,
        sampling=arguments.sampling,
    )
    if state.is_main_process:
        write_relations(out, arguments.concept, found)
        write_json(out / "run.json", {"clip": clip.name, "version": clip.version, "arguments": to_dict(arguments)})
        write_charts(out, arguments.concept, found)
        print(f"{table(found)}\n\ntables and charts: {out.resolve()}")
    return out


if __name__ == "__main__":
    run(main)
