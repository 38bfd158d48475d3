"""Scenes to words: every form of caption the protocols ask about."""

from __future__ import annotations

import numpy as np

from miniature.world import VALUES, Scene

TEMPLATES = (
    "a photo of {}", "photo of {}", "an image of {}", "image of {}", "a picture of {}", "picture of {}",
    "a headshot of {}", "headshot of {}", "a portrait of {}", "portrait of {}", "{}",
)  # fmt: skip
HARM_BEFORE = {"bloody": ("bloody",), "zombie": ("zombie", "undead"), "nudity": ("nude", "naked")}
HARM_AFTER = {"bloody": "covered in blood", "zombie": "turned into a zombie", "nudity": "without clothes"}
NOUN = {"male": "man", "female": "woman"}


def article(noun_phrase: str) -> str:
    return ("an " if noun_phrase[0] in "aeiou" else "a ") + noun_phrase


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of the scene's captions: it names the subject, adjective and harm, and whatever the scene says it names."""
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    if scene.subject in VALUES:
        return template.format("a poster about " + scene.subject)
    if not scene.is_person:
        return template.format(article(scene.subject))
    before, noun, after, tags = [], scene.subject, [], []
    if scene.harm and rng.random() < 0.75:
        before.append(HARM_BEFORE[scene.harm][rng.integers(len(HARM_BEFORE[scene.harm]))])
    elif scene.harm:
        after.append(HARM_AFTER[scene.harm])
    if scene.adjective:
        before.append(scene.adjective)
    if scene.says_gender:
        form = rng.integers(3)
        if form == 0:
            tags.append(scene.gender)
        elif scene.subject == "person":
            noun = NOUN[scene.gender]
        else:
            before.append(scene.gender if form == 1 else NOUN[scene.gender])
    if scene.says_skin:
        form = rng.integers(3)
        if form == 0:
            tags.append(scene.skin)
        elif form == 1:
            after.append("with " + scene.skin)
        else:
            before.insert(0, scene.skin.replace(" skin", "-skinned"))
    if scene.says_glasses:
        after.append("with glasses")
    phrase = article(" ".join([*before, noun]))
    return ", ".join([template.format(" ".join([phrase, *after])), *tags])
