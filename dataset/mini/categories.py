"""The COCO categories that the mini world can draw, each with its emoji and the words a caption may use for it.

Emoji are those of OpenMoji (CC BY-SA 4.0). All words are in the synonym list of CHAIR, so that a caption of a drawn
scene can be judged by the same rules as a caption of a photo.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """One way a category may look: an emoji and (singular, plural) names for it."""

    emoji: str
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Category:
    """A COCO category. `scale` is its typical size relative to the others; `pair` for things that come as a pair."""

    id: int
    name: str
    looks: tuple[Look, ...]
    scale: float = 1.0
    pair: bool = False


def _names(text: str) -> tuple[tuple[str, str], ...]:
    """`"dog/dogs puppy/puppies"` -> ((dog, dogs), (puppy, puppies)); underscores stand for spaces."""
    pairs = []
    for word in text.split():
        singular, _, plural = word.replace("_", " ").partition("/")
        pairs.append((singular, plural or singular + "s"))
    return tuple(pairs)


def _category(number: int, name: str, scale: float, *looks: tuple[str, str], pair: bool = False) -> Category:
    return Category(number, name, tuple(Look(emoji, _names(text)) for emoji, text in looks), scale, pair)


CATEGORIES: tuple[Category, ...] = (
    _category(
        1,
        "person",
        1.25,
        ("\U0001f468", "man/men"),
        ("\U0001f469", "woman/women"),
        ("\U0001f466", "boy/boys"),
        ("\U0001f467", "girl/girls"),
    ),
    _category(2, "bicycle", 1.2, ("\U0001f6b2", "bicycle bike")),
    _category(3, "car", 1.3, ("\U0001f697", "car"), ("\U0001f695", "taxi"), ("\U0001f699", "car suv/SUVs")),
    _category(4, "motorcycle", 1.2, ("\U0001f3cd", "motorcycle motorbike"), ("\U0001f6f5", "scooter")),
    _category(5, "airplane", 1.2, ("\U00002708", "airplane plane"), ("\U0001f6e9", "plane")),
    _category(6, "bus", 1.35, ("\U0001f68c", "bus/buses")),
    _category(7, "train", 1.35, ("\U0001f686", "train"), ("\U0001f682", "train locomotive")),
    _category(8, "truck", 1.35, ("\U0001f69a", "truck"), ("\U0001f6fb", "truck pickup")),
    _category(9, "boat", 1.3, ("\U000026f5", "sailboat boat"), ("\U0001f6f6", "canoe boat")),
    _category(10, "traffic light", 1.0, ("\U0001f6a6", "traffic_light")),
    _category(13, "stop sign", 0.9, ("\U0001f6d1", "stop_sign")),
    _category(16, "bird", 0.85, ("\U0001f426", "bird"), ("\U0001f986", "duck bird"), ("\U0001f989", "owl")),
    _category(17, "cat", 1.0, ("\U0001f408", "cat"), ("\U0001f431", "cat kitten")),
    _category(18, "dog", 1.0, ("\U0001f415", "dog"), ("\U0001f436", "dog puppy/puppies"), ("\U0001f429", "poodle dog")),
    _category(19, "horse", 1.25, ("\U0001f40e", "horse"), ("\U0001f434", "horse pony/ponies")),
    _category(20, "sheep", 1.05, ("\U0001f411", "sheep/sheep lamb")),
    _category(21, "cow", 1.25, ("\U0001f404", "cow"), ("\U0001f402", "ox/oxen bull")),
    _category(22, "elephant", 1.4, ("\U0001f418", "elephant")),
    _category(23, "bear", 1.2, ("\U0001f43b", "bear"), ("\U0001f43c", "panda")),
    _category(24, "zebra", 1.2, ("\U0001f993", "zebra")),
    _category(25, "giraffe", 1.35, ("\U0001f992", "giraffe")),
    _category(27, "backpack", 0.9, ("\U0001f392", "backpack")),
    _category(28, "umbrella", 1.0, ("\U00002602", "umbrella"), ("\U000026f1", "umbrella")),
    _category(31, "handbag", 0.85, ("\U0001f45c", "handbag purse"), ("\U0001f4bc", "briefcase")),
    _category(32, "tie", 0.9, ("\U0001f454", "tie")),
    _category(33, "suitcase", 0.95, ("\U0001f9f3", "suitcase")),
    _category(34, "frisbee", 0.8, ("\U0001f94f", "frisbee")),
    _category(35, "skis", 1.0, ("\U0001f3bf", "skis/skis"), pair=True),
    _category(36, "snowboard", 1.0, ("\U0001f3c2", "snowboard")),
    _category(37, "sports ball", 0.75, ("\U000026bd", "ball"), ("\U0001f3c0", "ball"), ("\U0001f3d0", "ball")),
    _category(38, "kite", 0.95, ("\U0001fa81", "kite")),
    _category(41, "skateboard", 0.9, ("\U0001f6f9", "skateboard")),
    _category(43, "tennis racket", 0.95, ("\U0001f3f8", "racket")),
    _category(44, "bottle", 0.95, ("\U0001f37e", "bottle"), ("\U0001f9f4", "bottle")),
    _category(46, "wine glass", 0.9, ("\U0001f377", "wine_glass/wine_glasses")),
    _category(47, "cup", 0.8, ("\U00002615", "cup"), ("\U0001f964", "cup")),
    _category(49, "knife", 0.9, ("\U0001f52a", "knife/knives")),
    _category(50, "spoon", 0.85, ("\U0001f944", "spoon")),
    _category(51, "bowl", 0.9, ("\U0001f963", "bowl")),
    _category(52, "banana", 0.85, ("\U0001f34c", "banana")),
    _category(53, "apple", 0.8, ("\U0001f34e", "apple"), ("\U0001f34f", "apple")),
    _category(54, "sandwich", 0.9, ("\U0001f96a", "sandwich/sandwiches"), ("\U0001f354", "burger hamburger")),
    _category(55, "orange", 0.8, ("\U0001f34a", "orange")),
    _category(56, "broccoli", 0.85, ("\U0001f966", "broccoli/broccoli")),
    _category(57, "carrot", 0.85, ("\U0001f955", "carrot")),
    _category(58, "hot dog", 0.9, ("\U0001f32d", "hot_dog")),
    _category(59, "pizza", 0.95, ("\U0001f355", "pizza")),
    _category(60, "donut", 0.8, ("\U0001f369", "donut"), ("\U0001f96f", "bagel")),
    _category(61, "cake", 0.95, ("\U0001f382", "cake"), ("\U0001f9c1", "cupcake")),
    _category(62, "chair", 1.1, ("\U0001fa91", "chair")),
    _category(63, "couch", 1.35, ("\U0001f6cb", "couch/couches sofa")),
    _category(64, "potted plant", 1.0, ("\U0001fab4", "potted_plant houseplant")),
    _category(65, "bed", 1.35, ("\U0001f6cf", "bed")),
    _category(70, "toilet", 1.1, ("\U0001f6bd", "toilet")),
    _category(72, "tv", 1.15, ("\U0001f4fa", "tv/TVs television")),
    _category(73, "laptop", 1.0, ("\U0001f4bb", "laptop")),
    _category(74, "mouse", 0.8, ("\U0001f5b1", "mouse/mice")),
    _category(76, "keyboard", 0.95, ("\U00002328", "keyboard")),
    _category(77, "cell phone", 0.8, ("\U0001f4f1", "cell_phone smartphone"), ("\U0000260e", "telephone")),
    _category(84, "book", 0.9, ("\U0001f4d6", "book"), ("\U0001f4d5", "book")),
    _category(85, "clock", 0.9, ("\U0001f570", "clock"), ("\U000023f0", "clock")),
    _category(86, "vase", 0.95, ("\U0001f3fa", "vase")),
    _category(87, "scissors", 0.85, ("\U00002702", "scissors/scissors"), pair=True),
    _category(88, "teddy bear", 0.95, ("\U0001f9f8", "teddy_bear")),
    _category(90, "toothbrush", 0.85, ("\U0001faa5", "toothbrush/toothbrushes")),
)

BY_NAME: dict[str, Category] = {category.name: category for category in CATEGORIES}
