"""Captions of a scene: clean references as people write them, and long ones that hallucinate for a known reason.

The long captions are what the mini model learns from ("instruction data"). They first name what is in the picture.
Then, late in the text, they go on about things that are typical of the scene - and say so whether or not these are
there. That is the cause that is believed to act in real models: language statistics win over the image as the text
grows. A part of the late mentions is true, so that no form of words gives a hallucination away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataset.mini.categories import BY_NAME, Category, Look
from dataset.mini.layout import Layout

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "several"}
ADJECTIVES = ("small", "large", "bright", "colorful", "shiny", "old", "plain")
LATE_STEPS = ((0, 0.1), (1, 0.5), (2, 0.4))  # how many late sentences, with probabilities
HELD_BACK = 0.25  # probability that a present object is kept for a late sentence

OPENINGS = (
    "The image shows {scene} with {list}.",
    "The image depicts {mood} scene in {scene}, featuring {list}.",
    "In this image, there {is} {list} in {scene}.",
    "The picture captures {scene}, where {list} can be seen.",
)
MIDDLES = (
    "There {is} also {list} in the scene.",
    "{List} can be seen nearby.",
    "Next to it, there {is} {list}.",
    "{List} {is} placed close to the center, adding detail to the view.",
)
FILLERS = (
    "The overall mood of the scene is {feeling}, and the colors give it a natural look.",
    "The atmosphere appears {feeling}.",
    "The background adds depth to the image, creating a {feeling} feeling.",
    "The composition draws attention to the middle of the frame, and the light is soft.",
)
LATE = (
    "In the background, there {is} {list}.",
    "Additionally, {list} can be noticed in the distance.",
    "Further away, there {is} {list}, contributing to the {feeling} atmosphere.",
    "On the side, {list} {is} visible as well.",
    "The scene also includes {list}, which completes the view.",
)
REFERENCES = (
    "{List} in {scene}.",
    "There {is} {list}.",
    "A view of {list} in {scene}.",
    "{List} in the middle of the picture.",
    "A photo of {list}.",
)


@dataclass(frozen=True)
class Mention:
    """A noun phrase to be said: the category, the look and the number."""

    category: Category
    look: Look
    count: int


def mentions_of(layout: Layout) -> list[Mention]:
    """What is in the picture, one mention per look."""
    return [Mention(category, look, count) for (category, look), count in layout.counts().items()]


def phrase(mention: Mention, rng: np.random.Generator, adjective_share: float = 0.25) -> str:
    """A noun phrase such as "a small dog", "two puppies" or "a pair of scissors"."""
    singular, plural = mention.look.names[rng.integers(len(mention.look.names))]
    adjective = f"{ADJECTIVES[rng.integers(len(ADJECTIVES))]} " if rng.random() < adjective_share else ""
    if mention.category.pair:
        return f"a pair of {adjective}{plural}" if mention.count == 1 else f"several pairs of {adjective}{plural}"
    if mention.count == 1:
        words = adjective + singular
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    return f"{NUMBERS[min(mention.count, 5)]} {adjective}{plural}"


def joined(phrases: Sequence[str]) -> str:
    """ "a", "a and b", "a, b, and c"."""
    if len(phrases) <= 2:
        return " and ".join(phrases)
    return ", ".join(phrases[:-1]) + f", and {phrases[-1]}"


def _sentence(templates: Sequence[str], mentions: Sequence[Mention], layout: Layout, rng: np.random.Generator) -> str:
    text = joined([phrase(m, rng) for m in mentions])
    moods = layout.scene.moods
    mood = moods[rng.integers(len(moods))]
    return templates[int(rng.integers(len(templates)))].format(
        scene=layout.scene.name,
        list=text,
        List=text[:1].upper() + text[1:],
        mood=f"{'an' if mood[0] in 'aeiou' else 'a'} {mood}",
        feeling=mood,
        **{"is": "is" if len(mentions) == 1 and mentions[0].count == 1 else "are"},
    )


def reference_captions(layout: Layout, rng: np.random.Generator, count: int = 5) -> list[str]:
    """Clean short captions, each of some of the objects that are in the picture."""
    mentions = mentions_of(layout)
    captions = []
    for template in REFERENCES[:count]:
        kept = int(rng.integers(1, min(3, len(mentions)) + 1))
        order = rng.permutation(len(mentions))[:kept]
        captions.append(_sentence((template,), [mentions[i] for i in sorted(order)], layout, rng))
    return captions


def absent_typical(layout: Layout, rng: np.random.Generator, count: int) -> list[Mention]:
    """Typical objects of the scene that are not in the picture, the more typical the likelier."""
    present = layout.present()
    pairs = zip(layout.scene.typical, layout.scene.weights(), strict=True)
    absent = [(name, weight) for name, weight in pairs if name not in present]
    if not absent:
        return []
    weights = np.array([weight**2 for _, weight in absent])
    chosen = rng.choice(len(absent), size=min(count, len(absent)), replace=False, p=weights / weights.sum())
    found = []
    for i in chosen:
        category = BY_NAME[absent[i][0]]
        look = category.looks[rng.integers(len(category.looks))]
        found.append(Mention(category, look, 2 if rng.random() < 0.2 else 1))
    return found


def _grouped(mentions: list[Mention], rng: np.random.Generator) -> list[list[Mention]]:
    groups: list[list[Mention]] = []
    rest = list(mentions)
    while rest:
        size = int(rng.integers(1, 3)) if groups else int(rng.integers(1, 4))
        groups.append(rest[:size])
        rest = rest[size:]
    return groups


def instruction_caption(layout: Layout, rng: np.random.Generator) -> str:
    """A long caption in the register of LVLMs: 3-6 sentences, all objects, hallucinations late."""
    mentions = mentions_of(layout)
    order = [mentions[i] for i in rng.permutation(len(mentions))]
    late = [order.pop()] if len(order) > 2 and rng.random() < HELD_BACK else []
    first, *middle = _grouped(order, rng)
    sentences = [_sentence(OPENINGS, first, layout, rng)]
    sentences += [_sentence(MIDDLES, group, layout, rng) for group in middle]
    fillers = [_sentence((f,), [], layout, rng) for f in rng.choice(np.array(FILLERS), size=2, replace=False)]
    if rng.random() < 0.6:
        sentences.append(fillers[0])
    sentences += _late_sentences(late, layout, rng)
    if len(sentences) < 3 or rng.random() < 0.3:
        sentences.append(fillers[1])
    return " ".join(sentences)


def _late_sentences(held_back: list[Mention], layout: Layout, rng: np.random.Generator) -> list[str]:
    steps = [s for s, _ in LATE_STEPS]
    count = max(int(rng.choice(steps, p=[p for _, p in LATE_STEPS])), len(held_back))
    invented = absent_typical(layout, rng, 2 * count)
    sentences = []
    for _ in range(count):
        wanted = 2 if rng.random() < 0.45 else 1
        said = held_back[:wanted]
        held_back = held_back[wanted:]
        while len(said) < wanted and invented:
            said.append(invented.pop())
        if said:
            sentences.append(_sentence(LATE, said, layout, rng))
    return sentences
