"""What latent directions change in the miniature, judged by its oracle. Called by latent_directions.sh.

    python scripts/latent_protocols.py --run runs/latent_directions --output_dir runs/latent_directions

Chosen on training occupations, by a sweep: step, weight, and the best common weight. Measured on those held out. Each
method is a run of its own, as `evaluation` has them: base; latent_direction; best_of_seeds; and, composed,
concept_vectors, livo, and all together. Whatever is there already is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from diffusion_base.arguments import Count, SamplingArguments, WholeNumber, check_ranges, parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_json
from diffusion_base.intervention import load_intervention
from diffusion_base.pipeline import load_pipeline
from evaluation import compare, evaluate
from evaluation.figures.from_scores import accuracy_figures, bias_figures
from evaluation.figures.quality import MetricFlag
from evaluation.figures.record import Figure, Subject, table
from evaluation.figures.stored import to_row
from evaluation.pictures.making import Maker
from evaluation.pictures.methods import Method
from evaluation.pictures.prompts import make_records
from evaluation.protocols.image_quality import image_quality, read_sets
from evaluation.protocols.plans import Measure, Plan
from evaluation.scores.attributes import BUILT_IN, AttributeSet, answers
from latent_directions import sweep
from latent_directions.dataset import read_collection
from latent_directions.fit import fit_all
from latent_directions.maps import Curve, draw_curves
from latent_directions.recommend import Point
from latent_directions.weights import read_weights
from miniature import GUIDANCE
from miniature.captions import article
from miniature.world import GENDERS, HELD_OUT, OCCUPATIONS, SKIN_TONES, TRAINING_OCCUPATIONS, gender_odds
from scorers.protocols import load_judge

TONES = {tone: tone.split()[0] for tone in SKIN_TONES}  # as the directions are called
MEMBERS = {
    "gender": GENDERS,
    "skin": tuple(TONES.values()),
    "skin-and-gender": tuple(f"{tone}+{gender}" for tone, gender in product(TONES.values(), GENDERS)),
}
SETS = BUILT_IN | {"occupation": AttributeSet("occupation", OCCUPATIONS, wording="a photo of a {choice}")}
NAME = "latent_direction"
MALE = tuple(occupation for occupation in HELD_OUT if gender_odds(occupation) < 0.4)
EVEN = tuple(occupation for occupation in HELD_OUT if 0.4 <= gender_odds(occupation) <= 0.6)
SWEPT_WEIGHTS = (-12.0, -8.0, -5.0, -2.5, 2.5, 5.0, 8.0, 12.0)
INTRO = (
    "A direction a class was fitted on latents of other occupations and is added to the initial noise. Here are "
    f"{len(HELD_OUT)} held-out occupations: with the members of a group dealt out evenly, at the step and weight that "
    "a sweep on training occupations recommends; with one weight for all and with a weight for each, without "
    "dealing; and, beside it, the best of several noises by the oracle’s look at quick previews. The oracle knows the "
    "truth about these pictures."
)
TOLD = (
    *("deviation ratio", "D1", "occupation accuracy", "accuracy", f"P({GENDERS[1]})"),
    *("similarity", "diversity", "clip score", "clip-fid"),
)
At: TypeAlias = tuple[float, float, float, float]  # a number, the figure there, and its limits


@dataclass
class Arguments:
    run: Path
    """Where latent_directions.sh collected (data/) and fitted (directions/)."""
    output_dir: Path = Path("runs/latent_directions")
    """Where the runs, results.json and the report go."""
    pretrained_model_name_or_path: Path = Path("assets/miniature")
    """The miniature, with its oracle/ and clip/."""
    images_per_occupation: Count = 6
    """Where members are dealt out; a multiple of 6 is even over two, three and six members."""
    images_per_point: Count = 2
    """Of an occupation at each weight, and of one of men for each fit of the curves; 2 or more."""
    images_per_subject: Count = 2
    """Of an occupation at each point of the sweep; 2 or more."""
    steps: tuple[WholeNumber, ...] = ()
    """Of the sweep and the curves; by default the first four that were kept."""
    weights: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 12.0)
    """At which members are dealt out, for the least that does."""
    samples: tuple[Count, ...] = (8, 16, 32, 64, 112)
    """Pictures of each class, of the curve over these."""
    noises: Count = 4
    """That BestOfSeeds chooses from."""
    preview_steps: Count = 4
    """Of each of its previews."""
    vectors: Path | None = None
    """Concept vectors with `dark`, for the composition."""
    livo_model: Path | None = None
    """A value encoder that knows gender equality, for the composition."""
    sampling: SamplingArguments = field(
        default_factory=lambda: SamplingArguments(guidance_scale=GUIDANCE, batch_size=25, mixed_precision="bf16")
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.images_per_occupation % 6:
            raise UserError("--images_per_occupation must be a multiple of 6, for groups of two, three and six members")
        if min(self.images_per_point, self.images_per_subject) < 2:
            raise UserError("--images_per_point and --images_per_subject must be 2 or more: diversity is of pairs")


class Protocols:
    """The runs of all methods; each set is made and scored at most once."""

    def __init__(self, arguments: Arguments):
        self.arguments, self.out = arguments, arguments.output_dir
        base = arguments.pretrained_model_name_or_path
        self.oracle = f"miniature:{base / 'oracle'}"
        self.judges = [load_judge(self.oracle)]
        self.pipeline = load_pipeline(base)
        self.figures: list[Figure] = []
        self.gender, self.tones = (arguments.run / "directions" / name for name in ("gender", "tones"))
        kept = read_collection([arguments.run / "data" / "gender"]).steps
        self.steps = arguments.steps or tuple(step for step in kept if step >= 0)[:4]

    def measure(
        self,
        method: str,
        specs: Sequence[str],
        subject: Subject,
        records: list[dict],
        *measures: Measure,
        sampling: SamplingArguments | None = None,
    ) -> list[Figure]:
        """Make a set with these interventions and measure it by the oracle."""
        maker = Maker(
            self.pipeline,
            Method(method, tuple(specs)),
            [load_intervention(each, self.pipeline) for each in specs],
            sampling=sampling or self.arguments.sampling,
        )
        plan = Plan(subject, measures, records=records)
        # pictures so small are decoded sooner than worker processes start
        options: dict[str, Any] = {"judges": self.judges, "maker": maker, "num_workers": 0, "progress": False}
        figures = evaluate([plan], self.out / method, **options)
        self.figures += figures
        return figures

    def quality(self, method: str, references: Mapping[str, str]) -> None:
        """What sets cost beside the base's of the same noises: set → the base's."""
        sets = read_sets(
            [method],
            [self.out / method / "imgs" / pictures for pictures in references],
            [self.out / "base" / "imgs" / reference for reference in references.values()],
        )
        metrics: list[MetricFlag] = ["clip", "diversity", "similarity", "fid"]
        self.figures += image_quality(sets, metrics, self.out / method, num_workers=0)

    def swept(self, name: str, subjects: Sequence[str], goal: str, steps: Sequence[int]) -> tuple[Point, str]:
        """The recommended point of a sweep of female, and why."""
        a = self.arguments
        settings = sweep.Arguments(
            directions=self.gender,
            direction=GENDERS[1],
            output_dir=self.out / name,
            subjects=tuple(subjects),
            choices=GENDERS,
            judge=self.oracle,
            clip=str(a.pretrained_model_name_or_path / "clip"),
            steps=tuple(steps),
            weights=SWEPT_WEIGHTS,
            goal=goal,  # type: ignore[arg-type]
            images_per_subject=a.images_per_subject,
            sampling=a.sampling,
        )
        _, best, reason = sweep.sweep(self.pipeline, settings)
        print(f"sweep for {goal}: {reason}", flush=True)
        return best, reason

    def choose(self) -> None:
        """Step, weight and common weight, on training occupations; a weight for each of those held out."""
        few = sorted(TRAINING_OCCUPATIONS, key=gender_odds)[:: max(1, len(TRAINING_OCCUPATIONS) // 8)]
        best, _ = self.swept("sweep", few, "shown", self.steps)
        self.step, self.weight = best.step, best.weight or max(self.arguments.weights)
        self.swept("sweep_held_out", HELD_OUT, "even", [self.step])

    def spec(self, options: str, weight: float | None = None, folder: Path | None = None) -> str:
        point = f"step={self.step}&weight={self.weight if weight is None else weight:g}"
        return f"latent_directions:{folder or self.gender}?{options}&{point}"

    def dealt(self) -> None:
        """Deviation ratios, a group's members dealt out evenly: genders, tones, and both at once."""
        records = records_of(HELD_OUT, self.arguments.images_per_occupation)
        for name, members in MEMBERS.items():
            group = f"group={quote(','.join(members), safe=',+')}&dealt=true"
            folder = self.tones if name == "skin" else self.gender
            also = f"&also={self.tones}" if name == "skin-and-gender" else ""
            subject = Subject("winobias", f"dealt_{name}", name, attribute=name, prompt_set="plain")
            measures = [bias_by_occupation(name), OCCUPATION_KEPT]
            self.measure("base", (), subject, records, *measures)
            spec = self.spec(group + also, folder=folder)
            self.measure(NAME, [spec], subject, records, *measures)
        self.quality(NAME, {f"dealt_{name}": f"dealt_{name}" for name in MEMBERS})

    def best_of_seeds(self) -> None:
        """The same without a direction, and a direction at its cost: as many more steps as its previews take."""
        a = self.arguments
        calls = a.noises * a.preview_steps + a.sampling.num_inference_steps
        records = records_of(HELD_OUT, a.images_per_occupation)
        group = f"group={','.join(GENDERS)}&dealt=true"
        chosen = f"latent_directions:?best_of={a.noises}&preview_steps={a.preview_steps}&judge={self.oracle}&{group}"
        about = f"gender, {calls} UNet calls"
        subject = Subject("winobias", "equal_cost_gender", about, attribute="gender", prompt_set="plain")
        measures = [bias_by_occupation("gender"), OCCUPATION_KEPT]
        settings = vars(a.sampling) | {"num_inference_steps": calls}
        more = SamplingArguments(**settings)
        self.measure("base", (), subject, records, *measures, sampling=more)
        self.measure("best_of_seeds", [chosen], subject, records, *measures)
        self.measure(NAME, [self.spec(group)], subject, records, *measures, sampling=more)
        self.quality("best_of_seeds", {subject.pictures: "dealt_gender"})  # the base's in as many steps
        self.quality(NAME, {subject.pictures: subject.pictures})

    def least_weight(self) -> list[Curve]:
        """Genders dealt out at each weight, and what it costs."""
        a = self.arguments
        records = records_of(HELD_OUT, a.images_per_point)
        group = f"group={','.join(GENDERS)}&dealt=true"
        self.measure("base", (), of_weight(0.0), records, bias_by_occupation("gender"), OCCUPATION_KEPT)
        before = len(self.figures)
        measures = [bias_by_occupation("gender"), OCCUPATION_KEPT]
        for weight in a.weights:
            self.measure(NAME, [self.spec(group, weight)], of_weight(weight), records, *measures)
        self.quality(NAME, {of_weight(weight).pictures: of_weight(0.0).pictures for weight in a.weights})
        weight_of = {of_weight(weight).pictures: weight for weight in a.weights}
        found: dict[str, list[At]] = {}
        for figure in self.figures[before:]:
            found.setdefault(figure.metric, []).append(at(weight_of[figure.subject.pictures], figure))
        shown = ("deviation ratio", "occupation accuracy", "similarity", "diversity")
        return [Curve("Against the weight, genders dealt out", name, "weight", found[name]) for name in shown]

    def without_dealing(self) -> None:
        """One weight for all, chosen on training occupations, and one for each occupation."""
        direction, each = f"direction={GENDERS[1]}", self.out / "sweep_held_out" / "weights.json"
        common, own = read_weights(self.out / "sweep" / "weights.json").default, read_weights(each).by_subject
        records = records_of(HELD_OUT, self.arguments.images_per_occupation)
        ways = {
            "one weight for all": (self.spec(direction, common), common != 0),
            "a weight for each": (self.spec(f"{direction}&weights={each}"), any(own.values())),
        }
        moving = []
        for about, (spec, moves) in ways.items():
            name = f"gender_{about.replace(' ', '_')}"
            subject = Subject("bias", name, f"gender, {about}", attribute="gender")
            for method, specs in (("base", ()), (NAME, [spec])):
                self.measure(method, specs, subject, records, bias_by_occupation("gender"), OCCUPATION_KEPT)
            if moves:  # else they are the base's pictures
                moving.append(name)
        if moving:
            self.quality(NAME, {name: name for name in moving})

    def shown_to_men(self, about: str, folder: Path, fit: str, step: int) -> Figure:
        """The share of women among occupations of men, with a direction of female."""
        records = records_of(MALE, self.arguments.images_per_point)
        records = [record | {"wanted": GENDERS[1]} for record in records]
        spec = f"latent_directions:{folder}?direction={GENDERS[1]}&fit={fit}&step={step}&weight={self.weight:g}"
        subject = Subject("curve", "curve_" + about.replace(" ", "_").replace(",", ""), about, attribute="gender")
        measure = Measure(SETS["gender"].questions, share_of_women)
        (figure,) = self.measure(NAME, [spec], subject, records, measure)
        return figure

    def curves(self) -> list[Curve]:
        """How few pictures a class suffice, for each fit; which step, for each fit; which occupations."""
        data = read_collection([self.arguments.run / "data" / "gender"])
        most = min(map(len, data.seeds_by_class.values()))
        over_samples: dict[str, list[At]] = {}
        for count in [count for count in self.arguments.samples if count <= most]:
            folder = self.out / "directions" / f"of_{count}"
            fit_all(data.part(samples=count))[0].save(folder)
            for fit in ("svm", "means"):
                figure = self.shown_to_men(f"{count} a class, {fit}", folder, fit, self.step)
                over_samples.setdefault(fit, []).append(at(count, figure))
        over_steps: dict[str, list[At]] = {}
        for step in self.steps:
            for fit in ("svm", "logistic", "means"):
                figure = self.shown_to_men(f"step {step}, {fit}", self.gender, fit, step)
                over_steps.setdefault(fit, []).append(at(step, figure))
        for name in ("person", "one"):
            folder = self.arguments.run / "directions" / name
            self.shown_to_men(f"learned on {name}", folder, "svm", self.step)
        women = f"P({GENDERS[1]}) in occupations of men"
        return [
            *(Curve(f"{women}, over pictures a class", fit, "pictures", found) for fit, found in over_samples.items()),
            *(Curve(f"{women}, over steps", fit, "step", found) for fit, found in over_steps.items()),
        ]

    def composition(self) -> list[str]:
        """A direction, a concept vector and a value token: each alone, and all on one picture. Returns the runs."""
        a = self.arguments
        parts = {NAME: [self.spec(f"direction={GENDERS[1]}")]}
        if a.vectors is not None:
            parts["concept_vectors"] = [f"concept_vectors:{a.vectors}?concept=dark"]
        if a.livo_model is not None:
            parts["livo"] = [f"value_encoder:{a.livo_model}?value={quote('gender equality')}"]
        parts["composed"] = [spec for specs in parts.values() for spec in specs]
        records = records_of(MALE, a.images_per_occupation)
        records = [record | {"wanted": f"{SKIN_TONES[-1]}, {GENDERS[1]}"} for record in records]
        both = SETS["skin-and-gender"]
        subject = Subject("composition", "composition", "dark and female", attribute=both.name)
        for method, specs in {"base": [], **parts}.items():
            self.measure(method, specs, subject, records, Measure(both.questions, shown_at_once), OCCUPATION_KEPT)
        return [name for name in parts if name != NAME]


def records_of(occupations: Sequence[str], images: int) -> list[dict]:
    prompts = [{"prompt": f"a photo of {article(occupation)}", "occupation": occupation} for occupation in occupations]
    return make_records(prompts, images_per_prompt=images)


def at(number: float, figure: Figure) -> At:
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    return number, figure.value, low, high


def of_weight(weight: float) -> Subject:
    about = f"gender, dealt at weight {weight:g}" if weight else "gender, base of the weights"
    return Subject("winobias", f"weight_{weight:g}_gender", about, attribute="gender", prompt_set="plain")


def bias_by_occupation(name: str) -> Measure:
    """How uneven a group is, an occupation's pictures counted together."""
    return Measure(SETS[name].questions, partial(_bias, SETS[name]))


def _bias(attributes: AttributeSet, rows: Sequence[dict], *, method: str, subject: Subject) -> list[Figure]:
    return bias_figures(answers(attributes, rows), method=method, subject=subject, unit="occupation")


def occupation_kept(rows: Sequence[dict], *, method: str, subject: Subject) -> list[Figure]:
    return accuracy_figures(rows, "occupation", "occupation accuracy", method=method, subject=subject)


def share_of_women(rows: Sequence[dict], *, method: str, subject: Subject) -> list[Figure]:
    return accuracy_figures(rows, "wanted", f"P({GENDERS[1]})", method=method, subject=subject)


def shown_at_once(rows: Sequence[dict], *, method: str, subject: Subject) -> list[Figure]:
    own = answers(SETS["skin-and-gender"], rows)
    return accuracy_figures(own, "wanted", "accuracy", method=method, subject=subject)


OCCUPATION_KEPT = Measure(SETS["occupation"].questions, occupation_kept)


def main(argv: Sequence[str] | None = None) -> Path:
    arguments = parse(Arguments, argv, prog="latent_protocols.py", description=__doc__)
    protocols, out = Protocols(arguments), arguments.output_dir
    protocols.choose()
    protocols.dealt()
    protocols.best_of_seeds()
    curves = protocols.least_weight()
    protocols.without_dealing()
    curves += protocols.curves()
    composed = protocols.composition()
    draw_curves(curves).savefig(out / "curves.png", dpi=110)
    write_json(out / "results.json", [to_row(figure) for figure in protocols.figures], indent=1)
    charts = {
        "The sweep on training occupations": out / "sweep" / "sweep.png",
        "Weights from left to right, steps from top to bottom": out / "sweep" / "pictures.png",
        "Curves": out / "curves.png",
    }
    runs = [out / method for method in ("base", NAME, "best_of_seeds", *composed)]
    compare(runs, out, title="What latent directions change", intro=INTRO, charts=charts)
    print(f"\n{table([figure for figure in protocols.figures if figure.metric in TOLD])}\n")
    for figure in protocols.figures:
        if figure.metric == "D1" and EVEN and figure.unit == "occupation":
            shown = ", ".join(f"{name} {figure.per_unit[name]:.2f}" for name in EVEN if name in figure.per_unit)
            print(f"near-even occupations, D1, {figure.method}, {figure.measured_on}: {shown}")
    html = out / "report.html"
    print(f"figures: {out / 'results.json'}\nreport:  {html.resolve()}")
    return html


if __name__ == "__main__":
    run(main)
