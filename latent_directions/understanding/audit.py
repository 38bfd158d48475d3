"""Where a base's biases sit, before any is mitigated: text, pictures and things of a list of concepts, on one page.

    python -m latent_directions.understanding.audit --pretrained_model_name_or_path BASE --concepts concepts.txt \\
        --groups gender race --output_dir runs/audit

The file has a concept a line. Each is compared with the choices of every group in the text encoder's space (TERU) and
by pictures (VERU), a judge says which choices its pictures show, and, if --model or --vocabulary is given, what things
are in them. The page says what text and pictures tie to each concept, where they disagree, which method of this
repository to try, and whether text similarity predicts what is drawn. An interrupted run goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, WholeNumber, check_ranges, parse, to_dict
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_json, write_jsonl
from diffusion_base.identity import base_hash
from diffusion_base.processes import process_state
from latent_directions.understanding.entities import Namer, WordsOfAJudge, read_vocabulary
from latent_directions.understanding.findings import (
    Correlation,
    Finding,
    chance_of,
    leanings,
    to_try,
    uneven_ones,
)
from latent_directions.understanding.groups import Group, named_groups, read_words
from latent_directions.understanding.objects import Named, counted, named_in
from latent_directions.understanding.page import Audit, write_page
from latent_directions.understanding.pictures import image_features, make_pictures
from latent_directions.understanding.similarity import mean_of_pairs
from latent_directions.understanding.social import answers_of, shares, social_judge
from latent_directions.understanding.tables import aligned, write_table
from scorers.clip import VIT_L14, CLIPScorer, ask
from scorers.protocols import Judge, load_judge


@dataclass(kw_only=True)
class Arguments:
    concepts: Path
    """Text file, a concept a line, e.g. "nurse"."""
    output_dir: Path
    """Where audit.html, the tables and the pictures go."""
    base: BaseArguments = field(default_factory=BaseArguments)
    wording: str = "a photo of a {choice}"
    """The sentence about each concept, which stands in the place of {choice}."""
    neutral: str = "person"
    """The concept that the others are compared with: what is nearer to a choice than this one leans to it."""
    groups: list[str] | None = None
    """gender, race, or a group of --groups_file; by default gender and race, or all of the file."""
    groups_file: Path | None = None
    """YAML file of groups, `age: {choices: [young, old], wording: "a photo of a {choice} person"}` each."""
    images: Count = 24
    """Pictures of each concept, and of each choice."""
    seed: WholeNumber = 0
    """Another one makes other pictures."""
    clip: str = VIT_L14
    """CLIP whose encoders compare: best one whose text encoder the base has, too. A folder or a hub id."""
    judge: str = "scorers:clip"
    """Who says which choices the pictures show, as scorers/README.md names judges."""
    model: str | None = None
    """Kosmos-2, a folder or a hub id, to name the things in the pictures."""
    vocabulary: Path | None = None
    """YAML file of groups of words, of which --judge names things instead of Kosmos-2."""
    sampling: SamplingArguments = field(default_factory=SamplingArguments)

    def __post_init__(self) -> None:
        check_ranges(self)
        if "{choice}" not in self.wording:
            raise UserError(f"--wording {self.wording!r} must hold {{choice}}, where the concept stands")
        if self.model and self.vocabulary:
            raise UserError("--model and --vocabulary exclude each other: give one of them")


def make_audit(arguments: Arguments) -> Audit:
    """Make the pictures that are lacking, and look at them.

    Raises:
        UserError: a file cannot be used, the judge does not know a group, or there is no such model.
    """
    out, state, neutral = arguments.output_dir, process_state(), arguments.neutral
    concepts = [neutral, *(of for of in read_words(arguments.concepts, "concepts") if of != neutral)]
    groups = named_groups(arguments.groups or [], arguments.groups_file)
    sentences = {concept: ask(arguments.wording, concept) for concept in concepts}
    choices = [text for group in groups for text in group.sentences]
    if own := next((concept for concept, text in sentences.items() if text in choices), None):
        raise UserError(f"the concept {own!r} is a choice of a group, too: take it out of {arguments.concepts}")
    given = load_judge(arguments.judge, str(state.device))
    judge, namer = social_judge(given, groups), load_namer(arguments, given)
    clip = CLIPScorer.from_pretrained(arguments.clip, device=str(state.device))
    pipeline = arguments.base.load(state.device)

    texts = list(dict.fromkeys([*sentences.values(), *choices]))
    pictures = make_pictures(
        pipeline,
        texts,
        out / "pictures",
        images=arguments.images,
        seed=arguments.seed,
        sampling=arguments.sampling,
    )
    by_text = dict(zip(texts, clip.text_features(texts), strict=True))
    by_image = image_features(pictures, clip, out / "features")
    of_concept = {concept: pictures[sentence] for concept, sentence in sentences.items()}
    findings: list[Finding] = []
    answers: list[dict] = []
    for group in groups:
        text, image = (leanings(of, of[0]) for of in similarities(list(sentences.values()), group, by_text, by_image))
        for row, (concept, files) in enumerate(of_concept.items()):
            said = answers_of(judge, group, files)
            answers += [{"concept": concept, **of} for of in said]
            drawn = shares(concept, group, [of["answer"] for of in said])
            leaning = tuple(map(float, text[row])), tuple(map(float, image[row]))
            findings.append(Finding(concept, group, *leaning, tuple(drawn), chance_of([of.count for of in drawn])))
    findings = [replace(of, uneven=sure) for of, sure in zip(findings, uneven_ones(findings), strict=True)]
    if state.is_main_process:
        write_jsonl(out / "answers.jsonl", answers)
    named = {concept: named_in(files, namer) for concept, files in of_concept.items()} if namer else {}
    provenance = {
        "base": f"{arguments.base.pretrained_model_name_or_path}, {base_hash(pipeline)}",
        "pictures": f"{arguments.images} of each concept and of each choice, no two of one seed; "
        f"{arguments.sampling.num_inference_steps} steps, guidance {arguments.sampling.guidance_scale:g}",
        "similarity": f"{clip.name} {clip.version}",
        "shares": f"{judge.name} {judge.version}",
        "things": f"{namer.name} {namer.version}" if namer else "not looked for: --model or --vocabulary names them",
    }
    things = {concept: counted(concept, own) for concept, own in named.items()}
    return Audit(neutral, groups, of_concept, findings, things, provenance)


def similarities(
    sentences: Sequence[str], group: Group, by_text: Mapping[str, Tensor], by_image: Mapping[str, Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """TERU and VERU of each sentence with each of the group's, (sentences, k) each."""
    text = [[float(by_text[of] @ by_text[to]) for to in group.sentences] for of in sentences]
    image = [[mean_of_pairs(by_image[of], by_image[to])[0] for to in group.sentences] for of in sentences]
    return np.array(text), np.array(image)


def load_namer(arguments: Arguments, judge: Judge) -> Namer | None:
    """Who names things, if anyone does."""
    if arguments.vocabulary:
        groups = read_vocabulary(arguments.vocabulary)
        return WordsOfAJudge(social_judge(judge, groups), groups)
    if arguments.model:
        from latent_directions.understanding.kosmos import Kosmos2  # only where it is wanted

        return Kosmos2.from_pretrained(arguments.model, device=str(process_state().device))
    return None


def write_audit(audit: Audit, out: Path, notes: Sequence[str] = ()) -> Path:
    """findings.csv, correlations.csv (and .json each) and audit.html, which shows `notes` among what it found."""
    rows = [
        {"concept": of.concept, "group": of.group.name, "choice": share.choice, "n": share.n, "count": share.count}
        | {"share": share.share, "low": share.low, "high": share.high, "text": text, "image": image}
        | {"chance": of.chance, "uneven": of.uneven, "text_side": of.text_side, "agrees": of.agrees}
        | {"try": ", ".join(method.folder for method in to_try(of))}
        for of in audit.findings
        for share, text, image in zip(of.shares, of.text, of.image, strict=True)
    ]
    write_table(out / "findings", rows, list(rows[0]))
    found = [asdict(of) for of in audit.correlations]
    write_table(out / "correlations", found, [column.name for column in fields(Correlation)])
    things = [asdict(of) for own in audit.things.values() for of in own]
    write_table(out / "things", things, [column.name for column in fields(Named)])
    return write_page(out / "audit.html", audit, notes)


def table(audit: Audit) -> str:
    """The most uneven concepts of each group as text in columns."""
    rows = [["group", "concept", "shown", "", "text encoder", "to try"]]
    for group in audit.groups:
        for of in sorted(audit.of_group(group), key=lambda of: -of.departure)[:10]:
            shown = f"{of.shown.share:.2f} [{of.shown.low:.2f}, {of.shown.high:.2f}]"
            first = to_try(of)[0].folder if of.uneven else "nothing: as even as chance"
            rows.append([group.name, of.concept, of.shown.choice, shown, of.text_side, first])
    return aligned(rows)


def main(argv: Sequence[str] | None = None) -> Path:
    """Audit, and return the page."""
    arguments = parse(Arguments, argv, prog="python -m latent_directions.understanding.audit", description=__doc__)
    audit = make_audit(arguments)
    page = arguments.output_dir / "audit.html"
    if process_state().is_main_process:
        write_json(arguments.output_dir / "run.json", {"arguments": to_dict(arguments), **audit.provenance})
        write_audit(audit, arguments.output_dir)
        print(f"{table(audit)}\n\npage: {page.resolve()}")
    return page


if __name__ == "__main__":
    run(main)
