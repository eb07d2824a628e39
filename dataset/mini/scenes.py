"""The scene types of the mini world: what is typically there, how the ground looks, and how one speaks of it."""

from __future__ import annotations

from dataclasses import dataclass

from dataset.mini.categories import BY_NAME

RGB = tuple[int, int, int]
FALL = 0.86  # each typical object is this much less likely than the one before it


@dataclass(frozen=True)
class Scene:
    """A scene type.

    Attributes:
        name: with article, as a caption says it.
        upper, lower: colours of the two parts of the background.
        typical: category names, most typical first.
        moods: words for its atmosphere, none of which is a thing.
    """

    name: str
    upper: RGB
    lower: RGB
    typical: tuple[str, ...]
    moods: tuple[str, ...]

    def weights(self) -> list[float]:
        """Relative probability of each typical object; falls geometrically."""
        return [FALL**rank for rank in range(len(self.typical))]


def _scene(name: str, upper: RGB, lower: RGB, typical: str, moods: str) -> Scene:
    objects = tuple(part.strip() for part in typical.split(","))
    unknown = [part for part in objects if part not in BY_NAME]
    if unknown:
        raise ValueError(f"scene {name}: {unknown} cannot be drawn")
    return Scene(name, upper, lower, objects, tuple(moods.split()))


SCENES: tuple[Scene, ...] = (
    _scene(
        "a city street",
        (176, 190, 205),
        (120, 120, 124),
        "person, car, traffic light, bus, bicycle, truck, motorcycle, stop sign, handbag, dog, backpack",
        "busy lively",
    ),
    _scene(
        "a kitchen",
        (238, 226, 200),
        (190, 160, 124),
        "cup, bowl, knife, bottle, spoon, apple, banana, chair, carrot, orange, broccoli",
        "cozy warm",
    ),
    _scene(
        "a beach",
        (150, 205, 240),
        (236, 214, 160),
        "person, umbrella, boat, kite, dog, sports ball, bird, frisbee, bottle, backpack",
        "sunny relaxed",
    ),
    _scene(
        "an office",
        (214, 220, 226),
        (150, 140, 132),
        "laptop, keyboard, mouse, chair, cup, book, cell phone, clock, potted plant, tie, scissors",
        "quiet focused",
    ),
    _scene(
        "a living room",
        (226, 208, 196),
        (158, 120, 96),
        "couch, tv, potted plant, cat, book, chair, vase, clock, person, dog, teddy bear",
        "comfortable peaceful",
    ),
    _scene(
        "a bedroom",
        (208, 200, 224),
        (172, 150, 160),
        "bed, teddy bear, clock, book, cell phone, cat, potted plant, laptop, person, chair",
        "calm peaceful",
    ),
    _scene(
        "a farm",
        (166, 208, 238),
        (136, 168, 84),
        "cow, horse, sheep, dog, bird, person, truck, cat, apple",
        "rural quiet",
    ),
    _scene(
        "a park",
        (170, 214, 240),
        (104, 176, 92),
        "person, dog, bicycle, bird, frisbee, kite, sports ball, skateboard, backpack, umbrella, cat",
        "pleasant relaxed",
    ),
    _scene(
        "a savanna",
        (244, 212, 150),
        (200, 168, 92),
        "elephant, zebra, giraffe, bird, person, car, truck, horse",
        "wild vast",
    ),
    _scene(
        "a snowy slope",
        (196, 216, 236),
        (240, 244, 248),
        "person, skis, snowboard, backpack, dog, bird, bear, suitcase",
        "cold exciting",
    ),
    _scene(
        "a picnic",
        (186, 222, 180),
        (226, 110, 100),
        "sandwich, apple, bottle, cake, banana, wine glass, person, hot dog, orange, pizza, donut, cup",
        "cheerful relaxed",
    ),
    _scene(
        "a bathroom",
        (204, 232, 236),
        (164, 188, 196),
        "toilet, toothbrush, bottle, potted plant, cup, scissors, cat, vase, clock",
        "clean tidy",
    ),
    _scene(
        "a harbor",
        (160, 200, 226),
        (70, 120, 168),
        "boat, bird, person, truck, bicycle, suitcase, car, dog, clock",
        "quiet scenic",
    ),
    _scene(
        "a railway platform",
        (198, 192, 188),
        (138, 132, 136),
        "train, person, suitcase, backpack, clock, handbag, cell phone, bicycle, umbrella, bird",
        "busy crowded",
    ),
    _scene(
        "an airfield",
        (150, 190, 232),
        (150, 156, 150),
        "airplane, truck, person, suitcase, bus, car, bird, backpack, stop sign",
        "spacious busy",
    ),
    _scene(
        "a sports court",
        (150, 196, 220),
        (196, 120, 84),
        "person, tennis racket, sports ball, bottle, backpack, chair, skateboard, cell phone, clock",
        "energetic lively",
    ),
)
