"""Build a preference set from any base and a plan: generate both sides, confirm every picture, write LiVO's layout.

    accelerate launch preference_data/build.py --pretrained_model_name_or_path BASE --output_dir livo_data \\
        --plan preference_data/plans/livo_86k.yaml --judge scorers:clip --mixed_precision bf16

The plan's format stands in preference_data/README.md. An interrupted run goes on where it stopped.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from accelerate import PartialState
from annotated_types import Gt, Le
from PIL import Image

from diffusion_base.arguments import BaseArguments, SamplingArguments, WholeNumber, check_ranges, parse, to_dict
from diffusion_base.errors import UserError, run
from diffusion_base.families import own_size
from diffusion_base.generation import generate_set
from diffusion_base.identity import base_hash, json_hash
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from preference_data.card import WORK, is_finished, publish, write_file
from preference_data.gathering import Want, imbalance, plain_records, representation, wants_of
from preference_data.plan import Bias, Harm, Plan, Scene, examples, summary
from preference_data.plan_file import read_plan
from preference_data.screening import Answer, answers, ask, described
from scorers.features import FeatureViewer
from scorers.protocols import Judge, load_judge
from scorers.thumbnail import Thumbnails


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments
    plan: Path
    """YAML plan: scenes, values, and how the pictures of each side are asked for; see preference_data/README.md."""
    output_dir: Path
    """Folder to write: <category>/<scene>/metadata.jsonl with its pictures, README.md and card.json."""
    judge: str = "scorers:clip"
    """What confirms the pictures of values whose plan names no judge, as package:path?option=value."""
    scale: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of the plan's pictures to make; a small one tries a large plan out."""
    dry_run: bool = False
    """Show what the plan asks for, and stop."""
    seed: WholeNumber = 0
    """Same seed, same pictures."""
    sampling: SamplingArguments = field(default_factory=SamplingArguments)
    image_format: Literal["png", "jpg"] = "png"
    """png keeps the pictures as they were made; jpg takes less room."""
    num_workers: WholeNumber = 2
    """Processes that decode pictures for the judges; 0 decodes in the main one."""
    keep_rejected: bool = False
    """Leave the working folder .unfinished there at the end, with every picture that was made and what was judged."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise UserError(f"--output_dir {self.output_dir} is a file; name a folder")


@dataclass
class Studio:
    """A base and its judges: makes pictures, and says what they show."""

    arguments: Arguments
    plan: Plan
    pipeline: Pipeline
    judges: Mapping[str, tuple[Judge, Bias | Harm]]
    state: PartialState
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.arguments.output_dir / WORK

    def make(self, name: str, title: str, records: Sequence[dict]) -> None:
        generate_set(
            self.pipeline,
            records,
            self.work / name,
            negative_prompt=[record.get("negative_prompt", "") for record in records],
            accelerator=self.state,
            name=title,
            **self.arguments.sampling.options(),
        )

    def judge(self, name: str, asked: Mapping[str, Mapping[str, str]], others: Sequence[FeatureViewer] = ()) -> dict:
        return answers(
            asked,
            self.work / name / "images",
            self.judges,
            self.work / "answers",
            self.state.process_index,
            others,
            num_workers=self.arguments.num_workers,
            name=f"judge {name}",
        )

    def try_judges(self) -> None:
        """Ask each value's question once, about an empty picture: a judge that cannot answer shows at once."""
        side = min(own_size(self.pipeline))
        for judge, value in self.judges.values():
            ask(judge, value, [Image.new("RGB", (side, side))], ["a picture"])

    def plain(self, scenes: Sequence[Scene]) -> dict[str, dict[str, int]]:
        """By scene of a bias how many pictures of the plain prompt show each group."""
        biased = [scene for scene in scenes if isinstance(scene.value, Bias)]
        arguments = self.arguments
        making = (self.plan.plain_count(arguments.scale), arguments.seed, arguments.image_format)
        sets = {scene.plain_name: plain_records(scene, *making) for scene in biased}
        if not sets:
            return {}
        self.make("plain", "plain pictures", [record for records in sets.values() for record in records])
        asked: dict[str, dict[str, str]] = {}
        for scene in biased:
            prompts = {record["file"]: record["prompt"] for record in sets[scene.plain_name]}
            asked.setdefault(scene.value_name, {}).update(prompts)
        found = self.judge("plain", asked)

        def counts(scene: Scene, value: Bias) -> dict[str, int]:
            own: list[Answer] = [found[scene.value_name][record["file"]] for record in sets[scene.plain_name]]
            return representation(value, own)

        return {scene.name: counts(scene, scene.value) for scene in biased if isinstance(scene.value, Bias)}

    def gather(self, wants: Sequence[Want]) -> None:
        """Make and judge round after round, until every side is full or its attempts are used up."""
        for number in count():
            making = (number, self.plan, self.arguments.seed, self.arguments.image_format)
            made = [(want, want.next_records(*making)) for want in wants]
            records = [record for _, own in made for record in own]
            if not records:
                return
            name = f"round-{number + 1}"
            self.make(name, f"pictures, round {number + 1}", records)
            asked: dict[str, dict[str, str]] = {}
            for want, own in made:
                prompts = {record["file"]: record["written_prompt"] for record in own}
                asked.setdefault(want.scene.value_name, {}).update(prompts)
            thumbnails = FeatureViewer(Thumbnails(), self.work / "features", [record["file"] for record in records])
            found = self.judge(name, asked, [thumbnails])
            features = thumbnails.all_rows()
            for want, own in made:
                for record in own:
                    key = record["file"]
                    record["set"] = name
                    want.consider(record, found[want.scene.value_name][key], features[key], self.plan.duplicates_above)


def load_judges(arguments: Arguments, scenes: Sequence[Scene], device: str) -> dict[str, tuple[Judge, Bias | Harm]]:
    """Each value's judge; those of one specification are one."""
    values = {scene.value_name: scene.value for scene in scenes}
    specs = {name: value.judge or arguments.judge for name, value in values.items()}
    loaded = {spec: load_judge(spec, device) for spec in dict.fromkeys(specs.values())}
    return {name: (loaded[specs[name]], value) for name, value in values.items()}


def facts_of(studio: Studio) -> dict[str, Any]:
    """What decides the set, up to rounding; JSON."""
    arguments = studio.arguments
    settings = to_dict(arguments)
    named = ("scale", "seed", "num_inference_steps", "guidance_scale", "mixed_precision", "image_format")
    judges = {name: described(judge, value) for name, (judge, value) in studio.judges.items()}
    return {
        "plan": json_hash(studio.plan.model_dump()),
        "base": base_hash(studio.pipeline),
        **{name: settings[name] for name in named},
        "judges": judges,
        "duplicates_by": f"{Thumbnails.name} {Thumbnails.version}",
    }


def main(argv: Sequence[str] | None = None) -> Path:
    """Build the set, and return its folder."""
    arguments = parse(Arguments, argv, prog="preference_data/build.py", description=__doc__)
    plan, scenes = read_plan(arguments.plan, arguments.scale)
    folder, state, base = arguments.output_dir, process_state(), arguments.base
    state.print(summary(plan, scenes, arguments.scale))
    if arguments.dry_run:
        state.print(examples(scenes))
        return folder
    judges = load_judges(arguments, scenes, str(state.device))
    pipeline = base.load(state.device)
    studio = Studio(arguments, plan, pipeline, judges, state)
    studio.try_judges()
    facts = facts_of(studio)
    finished = is_finished(folder, facts)
    state.wait_for_everyone()  # all have looked before anyone writes
    if finished:
        state.print(f"{folder} already holds this preference set")
    else:
        if state.is_main_process:
            write_file(folder / WORK / "facts.json", json.dumps(facts, indent=1))
        counts = studio.plain(scenes)
        even = {scene for scene in counts if imbalance(counts[scene]) < plan.least_imbalance}
        wants = [want for scene in scenes if scene.name not in even for want in wants_of(scene, counts.get(scene.name))]
        studio.gather(wants)
        if state.is_main_process:
            print(
                publish(folder, scenes, wants, counts, facts, plan_name=arguments.plan.name, base=pipeline.name_or_path)
            )
    if state.is_main_process and not arguments.keep_rejected:
        shutil.rmtree(folder / WORK, ignore_errors=True)
    state.wait_for_everyone()
    return folder


if __name__ == "__main__":
    run(main)
