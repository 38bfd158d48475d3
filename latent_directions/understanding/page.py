"""An audit to one HTML file, in the style of the evaluation's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

from diffusion_base.files import write_text
from diffusion_base.page.rendering import page_environment
from latent_directions.understanding import charts
from latent_directions.understanding.findings import METHODS, SPACES, SURE, Correlation, Finding, correlation, to_try
from latent_directions.understanding.groups import Group
from latent_directions.understanding.labels import Mark
from latent_directions.understanding.objects import Named

SHOWN = 8  # pictures of a concept
THINGS = 6  # names of a concept's things
FEW = 12  # concepts up to which all are named in the figure; of more, those far from the line


@dataclass(frozen=True)
class Audit:
    """All that a page shows.

    Args:
        neutral: the concept that the others are compared with.
        pictures: files by concept.
        findings: a concept and a group each.
        things: the names in each concept's pictures, the most frequent first; empty where nobody named them.
        provenance: what made it, in words.
    """

    neutral: str
    groups: list[Group]
    pictures: Mapping[str, Sequence[Path]]
    findings: list[Finding]
    things: Mapping[str, Sequence[Named]]
    provenance: dict[str, str]

    def of_group(self, group: Group) -> list[Finding]:
        """The group's findings, but for the neutral concept's."""
        return [of for of in self.findings if of.group == group and of.concept != self.neutral]

    def of_concept(self, concept: str) -> list[Finding]:
        return [of for of in self.findings if of.concept == concept]

    @cached_property
    def correlations(self) -> list[Correlation]:
        """A group and a space each, where there are concepts enough."""
        found = [correlation(self.of_group(group), space) for group in self.groups for space in SPACES]
        return [of for of in found if of]


def write_page(file: Path, audit: Audit, notes: Sequence[str] = ()) -> Path:
    """Write the page.

    Args:
        notes: what else shall stand among the things found.

    Raises:
        UserError: a picture is missing or broken.
    """
    environment = page_environment("latent_directions.understanding")
    environment.filters["share"] = lambda value: f"{value:.2f}"
    count = len(audit.pictures) - 1
    html = environment.get_template("audit.html.jinja").render(
        title="Where the biases sit",
        intro=f"{count} concepts, before any mitigation: what the text encoder ties to each of them, what its pictures "
        "show, where the two disagree, and which method to try.",
        provenance=audit.provenance,
        audit=audit,
        said=[*summary(audit), *notes],
        plots=[plot for group in audit.groups for plot in predictions(audit, group)],
        by_group={
            group: sorted((of for of in audit.findings if of.group == group), key=lambda of: -of.departure)
            for group in audit.groups
        },
        to_try=to_try,
        methods=METHODS,
        in_words=in_words,
        bars=share_bar,
        shown=SHOWN,
        things=THINGS,
        sure=SURE,
        colours=charts.CHOICES,
    )
    write_text(file, html)
    return file


def summary(audit: Audit) -> list[str]:
    """What was found, a sentence each."""
    found = []
    for group in audit.groups:
        rows = audit.of_group(group)
        uneven = [of for of in rows if of.uneven]
        apart = [of for of in uneven if not of.agrees]
        text = f"{group.name.capitalize()}: {len(uneven)} of {len(rows)} concepts are drawn unevenly"
        if uneven:
            most = max(uneven, key=lambda of: of.departure)
            text += f", up to {most.shown.share:.0%} {most.shown.choice} ({most.concept}); the text encoder leans "
            text += f"another way in {len(apart)} of them" if apart else "the same way in all of them"
        found.append(text + ".")
    for of in audit.correlations:
        if of.space == "text":
            found.append(f"Does text similarity predict what is drawn? {of.group.capitalize()}: {predicts(of)}.")
    return found


def predicts(of: Correlation) -> str:
    """A correlation in words, with its interval."""
    verdict = "yes" if of.low > 0 else "the other way round" if of.high < 0 else "not surely"
    return f"{verdict}, r = {of.r:.2f} [{of.low:.2f}, {of.high:.2f}] over {of.n} concepts".replace("-", "−")


def in_words(of: Finding) -> str:
    """What text and pictures say of a concept and a group."""
    share = f"{of.shown.share:.0%} of {of.shown.n} pictures show “{of.shown.choice}”"
    if not of.uneven:
        return f"{share}: no more uneven than chance."
    if of.agrees:
        return f"{share}, and the text encoder leans to it, too: the bias is in the prompt’s words already."
    return f"{share}, while the text encoder leans to “{of.text_side}”: the bias arises in the denoiser."


@dataclass(frozen=True)
class Plot:
    """A figure of the page: its heading, what stands below it, its SVG, and the choices that it shows."""

    heading: str
    caption: str
    svg: str
    group: Group
    choices: tuple[str, ...]


def predictions(audit: Audit, group: Group) -> list[Plot]:
    """Shares over leanings, in the text encoder's space and in the pictures'."""
    rows = audit.of_group(group)
    plots = []
    for of in [one for one in audit.correlations if one.group == group.name]:
        nearer = "as text" if of.space == "text" else "as pictures"
        first = 1 if len(group.choices) == 2 else 0  # of two, the first mirrors the second
        sets = {
            i: [Mark(getattr(row, of.space)[i], row.shares[i].share, row.concept) for row in rows]
            for i in range(first, len(group.choices))
        }
        figure = charts.prediction(sets, f"nearer {nearer} than “{audit.neutral}” is (cosine)", FEW)
        caption = f"{predicts(of)}; Spearman’s ρ = {of.rho:.2f}".replace("-", "−")
        plots.append(Plot(f"{group.name}, {nearer}", caption, charts.inline_svg(figure), group, group.choices[first:]))
    return plots


def share_bar(of: Finding) -> str:
    """The shares beside one another as one bar, inline SVG."""
    parts, left = [], 0.0
    for i, share in enumerate(of.shares):
        colour = 1 + i % charts.CHOICES
        width = 1000 * share.share
        parts.append(f'<rect class="m{colour}" x="{left:.1f}" y="0" width="{width:.1f}" height="14"/>')
        left += width
    label = ", ".join(f"{share.choice} {share.share:.2f}" for share in of.shares)
    return (
        '<svg viewBox="0 0 1000 14" preserveAspectRatio="none" height="14" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>{"".join(parts)}</svg>'
    )
