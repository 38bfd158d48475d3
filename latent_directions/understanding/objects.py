"""Which things a folder of pictures shows: named by a grounding model, counted, and drawn as boxes.

    python -m latent_directions.understanding.objects --pictures runs/base/images --output_dir runs/objects \\
        --model microsoft/kosmos-2-patch14-224

The model is Kosmos-2, a local folder or a hub id. Where it cannot be had, a judge stands in for it, which says of every
group of a YAML file which word fits; it says nothing of places:

    … --judge "scorers:clip?model=openai/clip-vit-large-patch14" --vocabulary words.yaml
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from diffusion_base.arguments import Count, WholeNumber, check_ranges, parse
from diffusion_base.data import load_image
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_jsonl
from diffusion_base.processes import process_state
from diffusion_base.set_files import save_picture
from latent_directions.understanding import charts
from latent_directions.understanding.entities import Entity, Namer, WordsOfAJudge, read_vocabulary
from latent_directions.understanding.pictures import named_folders
from latent_directions.understanding.social import share_of, social_judge
from latent_directions.understanding.tables import aligned, write_table
from scorers.clip import chunks
from scorers.protocols import load_judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20  # names in the histogram
SIDE = 512  # pixels that the longer side of a picture with boxes has at least


@dataclass(kw_only=True)
class Arguments:
    pictures: list[Path]
    """Folders of pictures, to be seen side by side."""
    output_dir: Path
    """Where objects.csv, objects.json, entities.jsonl, histogram.png and boxes/ go."""
    names: list[str] | None = None
    """What tables call the folders, one each; by default as they are called themselves."""
    model: str = "microsoft/kosmos-2-patch14-224"
    """Kosmos-2: a local folder or a hub id."""
    judge: str | None = None
    """A judge that takes the model's place, as scorers/README.md names judges; it needs --vocabulary."""
    vocabulary: Path | None = None
    """YAML file of groups of words for --judge, `glasses: {choices: [no glasses, glasses]}` each."""
    drawn: WholeNumber = 16
    """Pictures of each folder that are kept with their boxes."""
    batch_size: Count = 8
    """Pictures that the model is shown together."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.judge is None) != (self.vocabulary is None):
            raise UserError("--judge and --vocabulary belong together: give both, or none")


@dataclass(frozen=True)
class Named:
    """How often a thing is named.

    Args:
        n, count: pictures, and those among them in which it is.
        share, low, high: the share of these, with its 95% interval over pictures.
        mentions: how often it is named in all, by boxes where there are any.
    """

    pictures: str
    name: str
    n: int
    count: int
    share: float
    low: float
    high: float
    mentions: int


def counted(pictures: str, found: Sequence[Sequence[Entity]]) -> list[Named]:
    """A line a name, the most frequent first."""
    within = Counter(name for own in found for name in {entity.name for entity in own})
    mentions: Counter[str] = Counter()
    for entity in (entity for own in found for entity in own):
        mentions[entity.name] += max(1, len(entity.boxes))
    order = sorted(within, key=lambda name: (-within[name], name))
    return [
        Named(pictures, name, len(found), within[name], *share_of(within[name], len(found)), mentions[name])
        for name in order
    ]


def named_in(files: Sequence[Path], namer: Namer, batch_size: int = 8) -> list[list[Entity]]:
    """The things in each of some pictures."""
    return [own for batch in chunks(files, batch_size) for own in namer.entities([load_image(file) for file in batch])]


def with_boxes(image: Image.Image, entities: Sequence[Entity]) -> Image.Image:
    """A copy of the picture, enlarged if it is small, with each thing's boxes and name on it."""
    scale = max(1.0, SIDE / max(image.size))
    width, height = (round(side * scale) for side in image.size)
    drawn = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(max(width, height) / 32)
    boxes = [
        (entity.name, charts.COLOURS[number % len(charts.COLOURS)], (x0 * width, y0 * height, x1 * width, y1 * height))
        for number, entity in enumerate(entities)
        for x0, y0, x1, y1 in entity.boxes
    ]
    for _, colour, (left, top, right, bottom) in boxes:
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=max(2, width // 170))
    taken: list[tuple[float, float, float, float]] = []
    for name, colour, (left, top, _, _) in boxes:  # above all frames
        _, _, across, up = draw.textbbox((0, 0), name, font=font)
        across, up = across + 8, up + 6
        x, y = max(0.0, min(left, width - across)), top
        while any(x < of[2] and of[0] < x + across and y < of[3] and of[1] < y + up for of in taken):
            y += up  # below the names that are there
        taken.append((x, y, x + across, y + up))
        draw.rectangle(taken[-1], fill=colour)
        draw.text((x + 4, y + 2), name, fill="white", font=font)
    return drawn


def write_objects(
    folder: Path, namer: Namer, files: dict[str, list[Path]], found: dict[str, list[list[Entity]]], drawn: int
) -> list[Named]:
    """The tables, the histogram, and the pictures with boxes."""
    lines = [line for name, own in found.items() for line in counted(name, own)]
    rows = [
        {"pictures": name, "file": str(file), "namer": namer.name, "version": namer.version}
        | {"entities": [asdict(entity) for entity in own]}
        for name in files
        for file, own in zip(files[name], found[name], strict=True)
    ]
    write_jsonl(folder / "entities.jsonl", rows)
    write_table(folder / "objects", [asdict(line) for line in lines], [of.name for of in fields(Named)])
    if lines:
        charts.save(histogram(lines, namer.name), folder / "histogram.png")
    for number, name in enumerate(files):
        places = [i for i, own in enumerate(found[name]) if any(entity.boxes for entity in own)]
        for i in places[:drawn]:
            picture = with_boxes(load_image(files[name][i]), found[name][i])
            save_picture(picture, folder / "boxes" / f"{number}_{files[name][i].stem}.png")
    return lines


def histogram(lines: Sequence[Named], namer: str) -> "Figure":
    """The names found in most pictures, the sets of pictures side by side."""
    totals: dict[str, float] = {}
    bars: dict[str, dict[str, charts.Bar]] = {}
    for line in lines:
        totals[line.name] = totals.get(line.name, 0.0) + line.share
        bars.setdefault(line.pictures, {})[line.name] = charts.Bar(line.share, line.low, line.high)
    names = sorted(totals, key=lambda name: -totals[name])[:SHOWN]
    rows = {of: [own.get(name, charts.Bar(0.0)) for name in names] for of, own in bars.items()}
    most = f"The {len(names)} most frequent of the {len(totals)} things" if len(totals) > len(names) else "Things"
    return charts.share_bars(f"{most} named by {namer}", names, rows)


def table(lines: Sequence[Named]) -> str:
    """The most frequent names of each set as text in columns."""
    shown: Counter[str] = Counter()
    rows = []
    for line in lines:
        shown[line.pictures] += 1
        if shown[line.pictures] <= SHOWN:
            rows.append([line.pictures, line.name, f"in {line.count} of {line.n} pictures"])
    return aligned(rows) if rows else "nothing was named"


def load_namer(arguments: Arguments) -> Namer:
    """The grounding model, or the judge that takes its place."""
    device = str(process_state().device)
    if arguments.judge is None or arguments.vocabulary is None:
        from latent_directions.understanding.kosmos import Kosmos2  # only where it is wanted

        return Kosmos2.from_pretrained(arguments.model, device=device, batch_size=arguments.batch_size)
    groups = read_vocabulary(arguments.vocabulary)
    return WordsOfAJudge(social_judge(load_judge(arguments.judge, device), groups), groups)


def main(argv: Sequence[str] | None = None) -> Path:
    """Name and count, and return the folder of the tables."""
    arguments = parse(Arguments, argv, prog="python -m latent_directions.understanding.objects", description=__doc__)
    files = named_folders(arguments.pictures, arguments.names)
    namer = load_namer(arguments)
    found = {name: named_in(own, namer, arguments.batch_size) for name, own in files.items()}
    lines = write_objects(arguments.output_dir, namer, files, found, arguments.drawn)
    print(f"{table(lines)}\n\ntables, histogram and boxes: {arguments.output_dir.resolve()}")
    return arguments.output_dir


if __name__ == "__main__":
    run(main)
