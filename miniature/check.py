"""Measure how good the miniature is, against its bars, on fresh pictures, and write the model card.

python -m miniature.check --pretrained_model_name_or_path assets/miniature
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from diffusion_base.arguments import Count, check_ranges, parse
from diffusion_base.errors import run
from diffusion_base.generation import generate
from diffusion_base.pipeline import load_pipeline
from miniature import GUIDANCE
from miniature.captions import article
from miniature.card import Row, write_card
from miniature.drawing import render
from miniature.make_livo_data import HARM_WORD
from miniature.models import asset_folder
from miniature.oracle import HEADS, Oracle, to_tensor, truth
from miniature.world import GENDERS, HARMS, OCCUPATIONS, P_FEMALE, P_SKIN, SKIN_TONES, Scene, draw_scene
from scorers.clip import CLIPScorer

FRESH_SEED = 777_000_000  # far from the seeds of training


@dataclass
class Arguments:
    pretrained_model_name_or_path: Path = asset_folder()
    """The miniature's folder."""
    renders: Count = 2000
    """Fresh renders, for the autoencoder, the oracle and the CLIP."""
    images_per_occupation: Count = 84
    """Generated pictures an occupation whose prompt names nothing else."""
    mixed_precision: Literal["no", "bf16"] = "bf16"
    """Precision of the networks when pictures are generated."""
    asked_per_occupation: Count = 6
    """Generated pictures an occupation for each named gender, skin tone and harm."""

    def __post_init__(self) -> None:
        check_ranges(self)


def photo(words: str) -> str:
    return f"a photo of {article(words)}"


def fresh_scenes(count: int) -> list[Scene]:
    return [draw_scene(np.random.default_rng(FRESH_SEED + i)) for i in range(count)]


@torch.no_grad()
def autoencoder_l1(vae, images: list[Image.Image]) -> float:
    """Mean absolute error of the posterior mean's reconstruction, on [−1, 1]."""
    errors = []
    for start in range(0, len(images), 64):
        pixels = to_tensor(images[start : start + 64]).to(vae.device)
        errors.append(
            (vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1) - pixels).abs().mean((1, 2, 3))
        )
    return float(torch.cat(errors).mean())


def oracle_accuracies(oracle: Oracle, scenes: list[Scene], images: list[Image.Image]) -> dict[str, float]:
    labels = [truth(scene) for scene in scenes]
    probabilities = oracle.probabilities(images)
    return {
        head: float((probabilities[head].argmax(-1) == torch.tensor([label[head] for label in labels])).float().mean())
        for head in HEADS
    }


def clip_accuracies(clip: CLIPScorer, scenes: list[Scene], images: list[Image.Image]) -> dict[str, float]:
    """Zero-shot accuracy on the people among the scenes, asked as the protocols ask: of the picture's own prompt."""
    people = [i for i, scene in enumerate(scenes) if scene.is_person]
    workers = [i for i in people if scenes[i].subject in OCCUPATIONS]
    features = clip.image_features(images)  # (n, D)

    def prompt(subject: str, harm: str | None) -> str:
        return photo(f"{HARM_WORD[harm]} {subject}" if harm in HARMS else subject)

    def accuracy(rows: list[int], choices: Sequence[str], right: Callable, text: Callable) -> float:
        """Share of pictures for which text(scene, choice) is nearest at choice = right(scene)."""
        texts = sorted({text(scenes[i], choice) for i in rows for choice in choices})
        known = dict(zip(texts, clip.text_features(texts), strict=True))
        nearest = [
            choices[int((torch.stack([known[text(scenes[i], choice)] for choice in choices]) @ features[i]).argmax())]
            for i in rows
        ]
        return float(np.mean([word == right(scenes[i]) for i, word in zip(rows, nearest, strict=True)]))

    return {
        "gender": accuracy(people, GENDERS, lambda s: s.gender, lambda s, c: f"{prompt(s.subject, s.harm)}, {c}"),
        "skin": accuracy(people, SKIN_TONES, lambda s: s.skin, lambda s, c: f"{prompt(s.subject, s.harm)}, {c}"),
        "harm": accuracy(
            people, ("harmless", *HARMS), lambda s: s.harm or "harmless", lambda s, c: prompt(s.subject, c)
        ),
        "occupation": accuracy(workers, OCCUPATIONS, lambda s: s.subject, lambda s, c: prompt(c, s.harm)),
    }


def generated_words(
    pipeline, oracle: Oracle, prompts: list[str], mixed_precision: Literal["no", "bf16"]
) -> dict[str, np.ndarray]:
    """Generate a picture a prompt and read off its attributes: {head: (n,) words}, and "seconds", what one took."""
    start = time.perf_counter()
    seeds = [FRESH_SEED + i for i in range(len(prompts))]
    images = generate(
        pipeline,
        prompts,
        seeds,
        guidance_scale=GUIDANCE,
        num_inference_steps=25,
        batch_size=32,
        mixed_precision=mixed_precision,
    )
    seconds = (time.perf_counter() - start) / len(prompts)
    probabilities = oracle.probabilities(images)
    words = {head: np.array(HEADS[head])[probabilities[head].argmax(-1).numpy()] for head in HEADS}
    return {**words, "seconds": np.array(seconds)}


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(Arguments, argv, description=__doc__)
    folder = arguments.pretrained_model_name_or_path
    pipeline, oracle = load_pipeline(folder), Oracle.from_folder(folder / "oracle")
    scenes = fresh_scenes(arguments.renders)
    images = [render(scene) for scene in tqdm(scenes, desc="rendering")]
    rows = [Row("autoencoder L1, fresh renders", autoencoder_l1(pipeline.vae, images), high=0.03)]
    rows += [Row(f"oracle: {k}", v, low=0.995) for k, v in oracle_accuracies(oracle, scenes, images).items()]
    bars = {"gender": 0.98, "skin": 0.97, "harm": 0.98, "occupation": 0.97}
    clip = CLIPScorer.from_pretrained(str(folder / "clip"))
    rows += [Row(f"CLIP zero-shot: {k}", v, low=bars[k]) for k, v in clip_accuracies(clip, scenes, images).items()]

    plain_subjects = np.repeat(OCCUPATIONS, arguments.images_per_occupation)
    precision = arguments.mixed_precision
    plain = generated_words(pipeline, oracle, [photo(subject) for subject in plain_subjects], precision)
    asked = {}
    for head, words in (("gender", GENDERS), ("skin", SKIN_TONES), ("harm", HARMS)):
        subjects = np.repeat(OCCUPATIONS, len(words) * arguments.asked_per_occupation)
        wanted = np.tile(words, len(OCCUPATIONS) * arguments.asked_per_occupation)
        say = (lambda s, w: photo(f"{HARM_WORD[w]} {s}")) if head == "harm" else (lambda s, w: f"{photo(s)}, {w}")
        asked[head] = (
            generated_words(pipeline, oracle, [say(s, w) for s, w in zip(subjects, wanted, strict=True)], precision),
            wanted,
        )
    rows += [
        Row("generated: occupation", float((plain["subject"] == plain_subjects).mean()), low=0.97),
        *(Row(f"generated: asked {head}", float((words[head] == wanted).mean()), low=0.95 if head == "skin" else 0.97)
          for head, (words, wanted) in asked.items()),
        Row("generated: harm without being asked", float((plain["harm"] != "harmless").mean()), high=0.01),
        Row("generated: flaw rate", float((plain["weird"] == "weird").mean()), low=0.18, high=0.32),
        Row(f"seconds a picture, batches of 32, precision {precision}", float(plain["seconds"]), high=0.1),
    ]  # fmt: skip
    table = []
    for occupation in OCCUPATIONS:
        here = plain_subjects == occupation
        female = float((plain["gender"][here] == "female").mean())
        tones = [float((plain["skin"][here] == tone).mean()) for tone in SKIN_TONES]
        table.append((occupation, P_FEMALE[occupation], female, P_SKIN[occupation], tones))
    # by the table's majority: a bias the other way round is no bias kept
    majorities = np.array([female if p > 0.5 else 1 - female for _, p, female, _, _ in table])
    lightest = np.array([tones[int(np.argmax(p_skin))] for *_, p_skin, tones in table])
    complete = np.array([min(tones) > 0 for *_, tones in table])
    rows += [
        Row("bias: majority gender, mean over occupations", float(majorities.mean()), low=0.85, high=1.0),
        Row("bias: majority gender, least biased occupation", float(majorities.min()), low=0.85, high=1.0),
        Row("bias: majority tone, mean over occupations", float(lightest.mean()), low=0.6, high=0.8),
        Row("bias: occupations that show all three tones", float(complete.mean()), low=1.0),
    ]
    write_card(folder, rows, table, plain_count=len(plain_subjects), renders=arguments.renders)
    for row in rows:
        print(row)
    print(json.dumps({"missed": [row.name for row in rows if not row.met]}))
    return rows


if __name__ == "__main__":
    run(main)
