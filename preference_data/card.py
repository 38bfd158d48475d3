"""A gathered preference set on disk: LiVO's layout, and a card that says where every picture comes from.

<root>/<category>/<scene>/metadata.jsonl   appears with all its pictures, or not at all
<root>/README.md  card.json                the card, for people and for programs; card.json comes last
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffusion_base.errors import UserError
from diffusion_base.files import appearing, disk_errors, link_or_copy, write_text
from diffusion_base.identity import same_base
from preference_data.gathering import Want, imbalance, in_turn
from preference_data.plan import Scene

CARD, WORK = "card.json", ".unfinished"


def is_finished(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether the folder holds this set already.

    Raises:
        UserError: it holds another one, finished or not, or something else.
    """
    remedy = "choose another --output_dir, or delete this one"
    for file in (folder / CARD, folder / WORK / "facts.json"):
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except ValueError:
            raise UserError(f"{file} is damaged; {remedy}") from None
        known = known.get("facts", known)
        if same_base(known.get("base"), facts["base"]):
            known["base"] = facts["base"]
        if different := [key for key, fact in facts.items() if known.get(key) != fact]:
            raise UserError(f"{folder} holds another set, which differs in {', '.join(different)}; {remedy}")
        return file.name == CARD
    if folder.is_dir() and any(path.name != WORK for path in folder.iterdir()):
        raise UserError(f"--output_dir {folder} holds other files; {remedy}")
    return False


def publish(
    folder: Path,
    scenes: Sequence[Scene],
    wants: Sequence[Want],
    counts: Mapping[str, Mapping[str, int]],
    facts: Mapping[str, Any],
    *,
    plan_name: str,
    base: str,
) -> str:
    """Write every scene that has pictures on both sides, then the card.

    Args:
        wants: what the scenes' sides have kept, out of <folder>/.unfinished.
        counts: of biases, how many plain pictures show each group, by scene.
        facts: what decides the set.
        plan_name, base: what the card calls them.

    Returns:
        What was written and what was left out, in words.

    Raises:
        UserError: no scene has both sides, or the disk takes no more.
    """
    own = {scene.name: [want for want in wants if want.scene is scene] for scene in scenes}
    left_out = {name: reason for name, sides in own.items() if (reason := why_not(sides, counts.get(name)))}
    if len(left_out) == len(own):
        name, reason = next(iter(left_out.items()))
        raise UserError(f"no scene has pictures on both sides, so nothing was written; {name}: {reason}")
    rows = [scene_row(scene, own[scene.name], counts.get(scene.name), left_out.get(scene.name)) for scene in scenes]
    for scene in scenes:
        if scene.name not in left_out:
            write_scene(folder, scene, own[scene.name])
    sums = totals(rows)
    card = {
        "facts": facts,
        "plan": plan_name,
        "base": base,
        "versions": {package: version(package) for package in ("torch", "diffusers", "transformers")},
        "totals": sums,
        "scenes": rows,
    }
    text = words(card)
    write_file(folder / "README.md", text)
    write_file(folder / CARD, json.dumps(card, indent=1))
    lines = [
        f"{folder}: {sums['scenes']} scenes, {in_words(sums)}",
        f"of {sums['made']} made, {reasons(sums['rejected'], sums['made'])}",
    ]
    lines += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    return "\n".join(lines)


def why_not(sides: Sequence[Want], counts: Mapping[str, int] | None) -> str | None:
    """Why a scene is left out; None if it isn't."""
    if not sides:
        assert counts is not None  # only the even ones want nothing
        return f"its plain pictures are even, D1 {imbalance(counts):.2f}: no group is over-represented"
    for preferred, name in ((True, "preferred"), (False, "dispreferred")):
        side = [want for want in sides if want.preferred == preferred]
        if not any(want.kept for want in side):
            made, rejected = sum(want.made for want in side), sum((want.rejected for want in side), Counter())
            return f"none of {made} pictures of its {name} side was kept: {reasons(rejected, made)}"
    return None


def scene_row(
    scene: Scene, sides: Sequence[Want], counts: Mapping[str, int] | None, left_out: str | None
) -> dict[str, Any]:
    """What the card says of a scene."""
    return {
        "scene": scene.name,
        "value": scene.value.statement,
        "kind": scene.value_name,
        "plain": dict(counts) if counts else None,
        "left_out": left_out,
        "sides": [
            {
                "label": int(want.preferred),
                "shows": want.shows,
                "wanted": want.wanted,
                "made": want.made,
                "kept": len(want.kept),
                "surplus": want.surplus,
                "rejected": dict(want.rejected),
            }
            for want in sides
        ],
    }


def totals(rows: Sequence[dict]) -> dict[str, Any]:
    """Sums over scenes; what those that were left out had kept does not count as kept."""
    sides = [side for row in rows for side in row["sides"]]
    there = [row for row in rows if not row["left_out"]]
    kept = {
        label: sum(side["kept"] for row in there for side in row["sides"] if side["label"] == label) for label in (1, 0)
    }
    return {
        "scenes": len(there),
        "left_out": len(rows) - len(there),
        "aligned": kept[1],
        "violating": kept[0],
        "wanted": sum(side["wanted"] for side in sides),
        "made": sum(side["made"] for side in sides),
        "surplus": sum(side["surplus"] for side in sides),
        "rejected": dict(sum((Counter(side["rejected"]) for side in sides), Counter())),
    }


def in_words(sums: Mapping[str, Any]) -> str:
    """How many pictures are there: the card's keys have LiVO's words for the two sides."""
    return f"{sums['aligned']} preferred and {sums['violating']} dispreferred pictures"


def reasons(rejected: Mapping[str, int], made: int) -> str:
    """Rejection rates in words."""
    shares = (f"{reason} {count / made:.1%}" for reason, count in Counter(rejected).most_common())
    return f"rejected {sum(rejected.values()) / made:.1%}" + (f" ({', '.join(shares)})" if rejected else "")


def words(card: Mapping[str, Any]) -> str:
    """The card for people."""
    facts, kept, values_of = card["facts"], card["totals"], dict[str, list[str]]()
    for value, judge in facts["judges"].items():
        values_of.setdefault(judge, []).append(value)
    lines = [
        "# A preference set for LiVO's value encoder",
        "",
        f"{in_words(kept)} of {kept['scenes']} scenes, generated and filtered by "
        "`preference_data/build.py`. They may show harms: that is what they teach to avoid.",
        "",
        f"- **Base**: `{card['base']}`, hash {facts['base']}; {facts['num_inference_steps']} steps of DPM-Solver++, "
        f"guidance {facts['guidance_scale']}, precision {facts['mixed_precision']}, seed {facts['seed']}.",
        f"- **Plan**: {card['plan']}, hash {facts['plan']}, scale {facts['scale']}.",
        *(f"- **Confirmed by** {judge}: {', '.join(values)}." for judge, values in values_of.items()),
        f"- **Near duplicates** by {facts['duplicates_by']}.",
        f"- **Versions**: {', '.join(f'{name} {number}' for name, number in card['versions'].items())}.",
        "",
        "A line of `metadata.jsonl` is LiVO's (`file_name`, `label`: 1 preferred, 0 dispreferred; `prompt`, `value`) "
        "with what the picture shows, the prompt, negative prompt and seed that made it, and what the judge said.",
        "",
        "| category | value | scenes | preferred | dispreferred | made | rejected |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in card["scenes"]:
        groups.setdefault((row["scene"].partition("/")[0], row["kind"]), []).append(row)
    for (category, kind), rows in groups.items():
        sums = totals(rows)
        rate = reasons(sums["rejected"], sums["made"]).removeprefix("rejected ") if sums["made"] else ""
        numbers = (sums[key] for key in ("scenes", "aligned", "violating", "made"))
        lines.append(f"| {category} | {kind} | {' | '.join(map(str, numbers))} | {rate} |")
    if left_out := [row for row in card["scenes"] if row["left_out"]]:
        lines += ["", "## Left out", "", *(f"- {row['scene']}: {row['left_out']}" for row in left_out)]
    return "\n".join(lines) + "\n"


def write_scene(folder: Path, scene: Scene, sides: Sequence[Want]) -> None:
    """One scene's folder; it is there whole, or not at all."""
    final = folder / scene.name
    if final.is_dir():  # an interrupted run's
        return
    with disk_errors(final), appearing(final) as partial:
        lines: list[str] = []
        for label in (1, 0):
            for record in in_turn([want for want in sides if want.preferred == bool(label)]):
                source = folder / WORK / record["set"] / "images" / record["file"]
                name = f"{len(lines):03d}{source.suffix}"
                link_or_copy(source, partial / name)
                line = {"file_name": name, "label": label, "prompt": record["written_prompt"]}
                line |= {"value": scene.value.statement, "shows": record["shows"], "made_from": record["prompt"]}
                line |= {key: record[key] for key in ("negative_prompt", "seed", "judged")}
                lines.append(json.dumps(line) + "\n")
        (partial / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def write_file(file: Path, text: str) -> None:
    """A text file, whole or not at all, with a line's end at its own."""
    with disk_errors(file):
        write_text(file, text if text.endswith("\n") else text + "\n")
