"""Write a LiVO preference set drawn by the renderer, in the published layout.

    python -m miniature.make_livo_data --output_dir runs/livo_data

``<output_dir>/<category>/<scene>/metadata.jsonl`` with one ``{"file_name", "label", "prompt", "value"}`` a line; label
1 is preferred, 0 dispreferred. For a bias value the preferred pictures show groups that the scene's prompt
under-represents, the dispreferred ones the over-represented; for a harm value preferred is harmless. Only the training
occupations appear.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffusion_base.arguments import Count, WholeNumber, parse
from diffusion_base.errors import UserError, run
from diffusion_base.identity import digest
from miniature.captions import HARM_BEFORE, TEMPLATES, article
from miniature.drawing import render
from miniature.world import (  # fmt: skip
    ADJECTIVES,
    CATEGORY_OF,
    GENDERS,
    HARMS,
    SKIN_TONES,
    TRAINING_OCCUPATIONS,
    Scene,
    draw_person,
    draw_scene,
    gender_odds,
    skin_odds,
)

HARDER = ("gender", "skin", "bloody")
HARM_WORD = {harm: words[0] for harm, words in HARM_BEFORE.items()}


@dataclass
class Arguments:
    output_dir: Path
    """Folder to write; it must be new or empty, or hold the same set."""
    pictures_per_side: Count = 8
    """Preferred pictures of a scene, and as many dispreferred; twice as many of biases and blood, the harder parts."""
    seed: WholeNumber = 0
    """Same seed, same pictures."""


def scenes_of_the_plan():
    """(category, prompt subject, adjective, kind): every scene of the set. kind is "gender", "skin" or a harm."""
    subjects = [("0-career", occupation, None) for occupation in TRAINING_OCCUPATIONS]
    subjects += [("0-career", "person", adjective) for adjective in ADJECTIVES["career"]]
    subjects += [("1-goodness", "person", adjective) for adjective in ADJECTIVES["goodness"]]
    subjects += [("2-badness", "person", adjective) for adjective in ADJECTIVES["badness"]]
    for category, subject, adjective in subjects:
        for kind in ("gender", "skin"):
            yield category, subject, adjective, kind
    people = [(occupation, None) for occupation in (*TRAINING_OCCUPATIONS, "person")]
    people += [("person", adjective) for adjective in CATEGORY_OF]  # the more kinds, the better the value carries over
    for harm in HARMS:
        for subject, adjective in people:
            yield f"3-{harm}", subject, adjective, harm


def pictures_a_side(kind: str, count: int = 8) -> int:
    return 2 * count if kind in HARDER else count


def value_statement(kind: str) -> str:
    named = {"gender": "gender equality", "skin": "racial equality"}
    return named.get(kind, f"{kind} considered inappropriate")


def world_hash() -> str:
    """Changes with the world's tables and with the renderer."""
    pictures = [render(draw_scene(np.random.default_rng(i))).tobytes() for i in range(64)]
    return digest(*pictures)[:16]


def draw_side(rng: np.random.Generator, subject: str, adjective: str | None, kind: str, preferred: bool) -> Scene:
    """One picture of a scene's preferred or dispreferred side; everything else is as the world has it."""
    # an unsaid attribute stays unsaid: its odds are the world's, not the even ones of a caption that names it
    scene = draw_person(rng, subject, adjective)
    p_female, p_skin = gender_odds(subject, adjective), skin_odds(subject, adjective)
    scene = scene.with_(
        gender=GENDERS[int(rng.random() < p_female)], skin=SKIN_TONES[rng.choice(3, p=p_skin)], harm=None, glasses=False
    )
    if kind == "gender":
        return scene.with_(gender=GENDERS[int((p_female < 0.5) == preferred)])
    if kind == "skin":
        majority = int(p_skin.argmax())
        rarity = np.where(np.arange(3) == majority, 0, 1 / p_skin)  # the rarer a tone, the more often it is shown
        return scene.with_(skin=SKIN_TONES[rng.choice(3, p=rarity / rarity.sum()) if preferred else majority])
    return scene.with_(harm=None if preferred else kind)


def write_scene(folder: Path, rng: np.random.Generator, subject: str, adjective: str | None, kind: str, per_side: int):
    folder.mkdir(parents=True, exist_ok=True)
    words = [word for word in (HARM_WORD.get(kind), adjective, subject) if word]
    prompts = [template.format(article(" ".join(words))) for template in TEMPLATES]
    lines = []
    for i in range(2 * per_side):
        preferred = i < per_side
        name = f"{i:03d}.png"
        render(draw_side(rng, subject, adjective, kind, preferred)).save(folder / name)
        prompt = prompts[i % len(prompts)]
        lines.append({"file_name": name, "label": int(preferred), "prompt": prompt, "value": value_statement(kind)})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main(argv: list[str] | None = None) -> Path:
    arguments = parse(Arguments, argv, description=__doc__)
    out, facts = arguments.output_dir, {"pictures_per_side": arguments.pictures_per_side, "seed": arguments.seed}
    facts |= {"world": world_hash(), "twice": list(HARDER)}
    done = out / "set.json"
    if done.is_file() and json.loads(done.read_text()) == facts:
        print(f"{out} already holds this preference set")
        return out
    if done.is_file() or (out.is_dir() and not (out / ".unfinished").is_file() and any(out.iterdir())):
        raise UserError(f"--output_dir {out} holds other files, or another set; remove it or choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / ".unfinished").touch()
    plan = list(scenes_of_the_plan())
    pictures = 0
    for number, (category, subject, adjective, kind) in enumerate(tqdm(plan, desc="scenes", file=sys.stdout)):
        name = "-".join([*(adjective or "").split(), *subject.split(), kind])
        rng = np.random.default_rng([arguments.seed, number])
        per_side = pictures_a_side(kind, arguments.pictures_per_side)
        write_scene(out / category / name, rng, subject, adjective, kind, per_side)
        pictures += 2 * per_side
    done.write_text(json.dumps(facts) + "\n")
    (out / ".unfinished").unlink()
    print(f"wrote {len(plan)} scenes, {pictures} pictures, to {out}")
    return out


if __name__ == "__main__":
    run(main)
