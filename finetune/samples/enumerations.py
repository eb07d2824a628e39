"""Enumerations of things in a sentence, and the sentence with fewer of them.

"A dog, a cat and a frisbee." -> "A dog and a cat." An item goes alone only where the sentence stays one: what looks
like a list may be two clauses ("a cup stands on a table, and a dog sleeps"), its last noun the beginning of a longer
one ("a cat and a dog bed"), and what stands around it may count it or agree with it. Where that cannot be told,
nothing is shortened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from common.files.records import ObjectMention
from common.samples.determiners import DETERMINERS, PLURAL, SINGULAR
from common.samples.spans import Span

# Words that end a noun phrase or begin one; between its determiner and its noun there are others only.
NOT_INSIDE = (
    "a|an|the|its|their|his|her|another|each|every|of|with|and|or|in|on|at|near|by|from|to|for|is|are|was|were|be|can|"
    f"that|which|who|as|there|while|{'|'.join(PLURAL)}"
)
PHRASE = re.compile(
    rf"(?<![\w-])(?:{'|'.join(DETERMINERS)})\s+(?:(?:{'|'.join(PLURAL)})\s+)?"
    rf"(?:(?:\w+\s+)?(?:pairs?|groups?|couple|few|bunch|row|set)\s+(?:of\s+)?)?"
    rf"(?:(?!(?:{NOT_INSIDE})\b)[\w'-]+\s+){{0,4}}\Z",
    re.IGNORECASE,
)
SEPARATOR = re.compile(r"\s*,\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+")
CONJUNCTION = re.compile(r"(,?)\s*\b(and|or)\s+\Z")
ENDS_AS_A_LIST = re.compile(r"\s*(?:[.;:!?)]|\Z|(?:,[^.;:!?]*)?\b(?:and|or|etc)\b)")

PLACES = (
    "in|on|onto|at|near|next|by|beside|behind|before|above|over|below|under|underneath|beneath|around|across|along|"
    "against|among|between|inside|into|outside|within|through|throughout|from|to|towards?|atop"
)
# What may follow a whole noun phrase that is not the subject of what follows; "bed" and "sleeps" of "a dog" may not.
GOES_ON = re.compile(
    rf"\s*(?:(?![-'’])[^\w\s]|\Z)|\s+(?:[^\w\s]|(?:{PLACES}|with|of|for|during|without|like|including|and|or|but|while|"
    r"where|when|as|that|which|who|whose|here|there|nearby|visible|present|too|scattered|seen|made|set|"
    r"(?!bed|shed|seed|weed)\w{2,}ed|(?!(?:ceil|build|paint|str|r|k|w)ing)\w{2,}ing)\b)",
    re.IGNORECASE,
)
VERB_BEFORE = re.compile(r"\b(is|are|was|were)(\s+(?:also\s+)?)\Z", re.IGNORECASE)
VERB_BEHIND = re.compile(r"(\s+)(is|are|was|were|has|have)\b(?!['’])", re.IGNORECASE)
MODAL_BEHIND = re.compile(r"\s+(?:can|could|may|might|must|should|will|would)\b", re.IGNORECASE)
NUMBER_OF = {
    **{"is": ("is", "are"), "are": ("is", "are"), "was": ("was", "were"), "were": ("was", "were")},
    **{"has": ("has", "have"), "have": ("has", "have")},
}
SEVERAL_THINGS = re.compile(r"an?\s+(?:\w+\s+)?(?:few|couple|number|lot|variety|handful|dozen)\b", re.IGNORECASE)
PLURAL_LATER = re.compile(r"[^,;:]*\b(?:are|were|have)\b", re.IGNORECASE)
PLURAL_BEFORE = re.compile(r"\b(?:exist|lie|sit|stand|hang|rest|remain|have\s+been)\s+\Z", re.IGNORECASE)
# "a tunnel and the buildings on both sides are tall": what the verb tells is told of the last phrase.
VERB_LATER = re.compile(
    r"(?:(?!\b(?:that|which|who|whose|what|how|where|when|while|as|because|since|and|but|or)\b)[^,;:.!?])*?"
    r"\b(?:is|are|was|were|has|have|had|can|could|will|would|seems?|appears?|looks?|makes?|adds?|gives?|creates?|"
    r"suggests?|indicates?|stands?|sits?)\b",
    re.IGNORECASE,
)
# "A dog and a cat are friends", "are the only animals": of one it cannot be said.
ARE_WHAT = re.compile(
    rf"\s+(?:are|were)\s+(?:\w+ly\s+|also\s+)?(?:an?|the|{'|'.join(PLURAL)}|(?!across\b)\w{{3,}}s)\b", re.IGNORECASE
)
MORE = re.compile(r"\s+(?!(?:and|or|but|while|where|when)\b)\w")

# A list that begins its clause is the subject of a verb behind it; any other ends before that verb's own subject.
CLAUSE_BEGINS = re.compile(r"(?:\A|[,;:]|\b(?:where|while|when|as|that|and|but|because|since|both|either))\W*\Z")
OF_SEVERAL = re.compile(
    r"\b(?:both|either|neither|between|among|amongst|(?:mix|mixture|blend|combination|pair|trio|total|group|"
    r"collection) of)\s+\Z",
    re.IGNORECASE,
)
COUNTED = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|both|\d+)\b[^,:;.!?]{0,120}(?:[,:(]|\s[-–—])\s*\Z",
    re.IGNORECASE,
)
# What stands before a list is of its first item for certain and of the others perhaps: of "a woman wearing a hat and a
# dog" no dog is worn. So the first goes alone only where that would fit any thing.
PICTURE = r"image|picture|photo(?:graph)?|scene|view|background|foreground|street|area|space|kitchen|\w*room"
SHOWS = "shows|depicts|features|captures|displays|presents|showcases|has|contains"
GATHERED = (
    "photo|photograph|picture|image|view|shot|group|collection|variety|selection|array|assortment|arrangement|mix|"
    "mixture|blend|combination|presence|consists?|consisting"
)
THERE_IS = (
    r"there(?:['’]s|\s+(?:also\s+)?(?:is|are|was|were|(?:can|may|might|could|must|appears?\s+to|seems?\s+to)\s+be))"
    r"(?:\s+also)?"
)
# Before "with" these tell what is done with the first ("covered with", not "a bed with" or "a building with").
DONE_WITH = (
    r"(?!(?:bed|shed|seed|weed)\b)\w{2,}ed|(?!(?:ceil|build|paint|str|r|k|w)ing)\w{2,}ing|full|strewn|laden|made|hung|"
    "set|laid|spread|plays?|eats?|drinks?|cuts?|hits?|works?|deals?|interacts?|comes?|goes|go"
)
# "a hat with a feather and a dog": what is worn or held has no thing beside it, but a part.
WORN = (
    r"(?:hat|cap|helmet|shirt|jacket|coat|dress|skirt|suit|tie|scarf|shoe|boot|glove|bag|backpack|handbag|"
    r"purse|umbrella|collar|leash|outfit|uniform|sweater|hoodie|vest|blanket|cup|mug|glass)(?:e?s)?"
)
BEGINNING = r"(?:\A|[,;:])[^\w,;:]*"
FITS_ANY_THING = re.compile(
    r"(?:\A\W*(?:\d+\W+)?|[;:][^\w,;:]*)\Z|"
    rf"(?:\b(?:where|while|when|that|because|since|such\s+as|{THERE_IS}|featuring|includes?|including)|"
    r"(?:\A|,)\s*as|,\s*(?:possibly|perhaps|likely)|\bbe\s+(?:also\s+)?(?:seen|noticed|found|spotted|observed)|"
    r"\b(?:we|you|one)\s+(?:can\s+|could\s+|may\s+)?(?:also\s+)?(?:see|notice|spot|find|observe)|"
    rf"{BEGINNING}(?:{PLACES}|also|visible|present)\b[^,;:]*\s(?:is|are|was|were)(?:\s+also)?|"
    rf"{BEGINNING}(?:the|this|an?)\s+(?:\w+\s+){{0,2}}(?:{PICTURE})\s+(?:also\s+|\w+ly\s+)?(?:{SHOWS})|"
    rf"\b(?:{GATHERED})\s+of|{BEGINNING}with|\b(?!(?:{DONE_WITH}|{WORN})\b)\w+\s+with)\s+\Z",
    re.IGNORECASE,
)
BEGINS_A_PHRASE = re.compile(rf"\W*(?:{'|'.join(DETERMINERS)})\b", re.IGNORECASE)
OPENING = re.compile(
    rf"\W*(?:(?:{PLACES}|with|along|apart|aside|besides|beyond|further|for|as|while|when|where|nearby|also|moreover|"
    r"furthermore|overall|however|meanwhile|then|here|\w+ly)\b[^,]*)\Z",
    re.IGNORECASE,
)
OF_THE_LAST = re.compile(
    r"\s*(?:\(|(?:of|with|that|who|whom|whose)\b)|\s*,\s*(?:which|who)\s+(?:is|are|was|were|has|have)\b", re.IGNORECASE
)
MUTUAL = re.compile(
    r"\b(?:each|both|together|one another|side by side|respectively|the (?:latter|former|two)|in the other|similar|"
    r"alike|identical|different|either (?:side|end)|opposite|(?:all|one) of (?:which|whom|them)|"
    r"one (?:is|has|in|on|at|with|to|near|closer|located|placed|positioned))\b|[;:]\s*(?:one|they)\b|[,–—-]\s*all\b",
    re.IGNORECASE,
)
THEIRS = re.compile(r"\b(?:they|them|their)\b", re.IGNORECASE)
IN_ALL = re.compile(r"\b(?:in all|in total|altogether)\b", re.IGNORECASE)
TELLS_APART = re.compile(
    r"\b(?:couple|pair|trio|people|persons|individuals|adults|children|kids|friends|animals|pets|creatures|vehicles|"
    r"objects|items|things|figures)\Z"
)
HOW_MANY = {"pair": 2, "couple": 2, "two": 2, "trio": 3, "three": 3, "four": 4, "five": 5, "six": 6}
POSSESSIVE = re.compile(r"(?:its|their|his|her)\b", re.IGNORECASE)
LIVING = re.compile(
    r"\b(?:m[ae]n|wom[ae]n|boys?|girls?|child(?:ren)?|kids?|bab(?:y|ies)|persons?|people|lad(?:y|ies)|guys?|players?|"
    r"riders?|skiers?|surfers?|workers?|dogs?|pupp(?:y|ies)|cats?|kittens?|birds?|horses?|cows?|sheep|elephants?|"
    r"bears?|zebras?|giraffes?)\Z",
    re.IGNORECASE,
)
# "a dog and a woman in her car", "a woman and a dog in her arms": of one of them, and it cannot be told of which.
OF_ONE = re.compile(r"[^,;:]*\b(?:he|she|it|him|her|hers|his|its|himself|herself|itself)\b", re.IGNORECASE)
# "a car and a man riding a bike", "a table and a man in his chair": of the last alone where only that one lives.
OF_THE_LIVING = re.compile(
    r"\s+(?:(?!(?:standing|sitting|lying|resting|hanging|being|belonging)\b)\w+ing|dressed|(?:in|on) (?:his|her))\b",
    re.IGNORECASE,
)

Item = tuple[Span, ObjectMention]


def enumerations(text: str, offset: int, mentions: Sequence[ObjectMention]) -> list[list[Item]]:
    """Lists of at least two noun phrases, each with nothing but a separator before the next.

    Args:
        text: the sentence; offset: where it begins in the caption.
        mentions: those in it in their order, at offsets of the caption.
    """
    phrases: list[Item] = []
    before = 0
    for mention in mentions:
        start, end = mention.start - offset, mention.end - offset
        found = PHRASE.search(text, before, start)
        if found:
            phrases.append((Span(found.start(), end), mention))
        before = end
    lists: list[list[Item]] = [[phrase] for phrase in phrases[:1]]
    for (one, _), phrase in pairwise(phrases):
        if SEPARATOR.fullmatch(text, one.end, phrase[0].start):
            lists[-1].append(phrase)
        else:
            lists.append([phrase])
    return [items for items in lists if len(items) > 1 and _is_one_list(text, items)]


def _is_one_list(text: str, items: Sequence[Item]) -> bool:
    """Whether the phrases are one part of the sentence: not the end of a clause and the subject of the next, not one
    of a longer list and what belongs to another ("a man with a dog, a woman with a cat, and a child"), nor one that the
    others tell apart ("two people, a man and a woman")."""
    before, behind = text[: items[0][0].start], text[items[-1][0].end :]
    joint = _conjunction(text, items)
    if joint is None and not ENDS_AS_A_LIST.match(behind):
        return False
    parted = joint is not None and bool(joint.group(1)) and len(items) == 2
    if (joint and _is_of_a_longer_list(before, parted)) or (parted and MORE.match(behind)):
        return False  # "has a long neck, and its body is brown"
    if _told_apart(text, items) or (joint and behind.startswith(",") and CLAUSE_BEGINS.search(before)):
        return False
    if CLAUSE_BEGINS.search(before):
        return True
    return GOES_ON.match(behind) is not None and VERB_LATER.match(behind) is None


def _is_of_a_longer_list(before: str, parted: bool) -> bool:
    """Whether a comma before the first item may part items of which it is only a part.

    Its last word may join those ("a dog, a man with a hat and a cat"): where two are `parted` by one more comma, or
    where what stands between the comma and the first item begins as an item.
    """
    ahead, comma, between = before.rpartition(",")
    if not comma or not between.strip() or OPENING.match(ahead):
        return False
    return parted or BEGINS_A_PHRASE.match(between) is not None


def _told_apart(text: str, items: Sequence[Item]) -> bool:
    """Whether the first names as many as come behind it."""
    first = text[items[0][0].start : items[0][0].end].lower()
    named = TELLS_APART.search(first) is not None
    return named and any(HOW_MANY.get(word) == len(items) - 1 for word in first.split())


def _conjunction(text: str, items: Sequence[Item]) -> re.Match[str] | None:
    """What joins the last item: whether a comma stands before it, and its word; None for a comma alone."""
    return CONJUNCTION.search(text[items[-2][0].end : items[-1][0].start])


def shortened(text: str, items: Sequence[Item], kept: Sequence[bool]) -> str | None:
    """The sentence with fewer items in this list; None where it cannot be told that it stays a right sentence."""
    left = [text[span.start : span.end] for (span, _), stays in zip(items, kept, strict=True) if stays]
    before, behind = text[: items[0][0].start], text[items[-1][0].end :]
    if not left or _needs_what_goes(before, behind, kept) or _parts_the_living(text, items, kept):
        return None
    if text[items[0][0].start].isupper() or not any(c.isalnum() for c in before):
        left[0] = left[0][:1].upper() + left[0][1:]
    joint = _conjunction(text, items)
    if len(left) == 1 and joint and before.rstrip().endswith(","):
        joined = _after_a_comma(before, behind, joint.group(2))
        if joined is None:
            return None
        before = joined
    if not kept[0] or len(left) == 1:
        agreed = _agreeing(before, behind, left)
        if agreed is None:
            return None
        before, behind = agreed
    return before + _joined(left, joint) + behind


def _needs_what_goes(before: str, behind: str, kept: Sequence[bool]) -> bool:
    """Whether the sentence around a list speaks of items that are to go, or may do so."""
    alone = sum(kept) == 1
    if COUNTED.search(before) or IN_ALL.search(behind) or (not kept[0] and not _fits_any_thing(before)):
        return True  # "two animals: a dog and a cat"; "a lamp on a desk and a cat", which is on no desk
    if OF_ONE.match(behind):
        return True
    of_several = OF_SEVERAL.search(before) or PLURAL_BEFORE.search(before)
    if alone and (of_several or MUTUAL.search(behind) or ARE_WHAT.match(behind)):
        return True
    if OF_THE_LAST.match(behind) and (not kept[-1] or (alone and PLURAL_LATER.match(behind))):
        return True
    if VERB_BEHIND.match(behind) or MODAL_BEHIND.match(behind):
        return False
    if not kept[-1] and MORE.match(behind) and not _fits_any_thing(before):
        return True  # "a dog on a bed and a cat on a chair", "wears a hat and a scarf around her neck"
    if GOES_ON.match(behind) is None:  # a verb whose number would change, or the rest of the last noun
        return alone or not kept[-1]
    return alone and CLAUSE_BEGINS.search(before) is not None and PLURAL_LATER.match(behind) is not None


def _fits_any_thing(before: str) -> bool:
    """Whether what stands before a list does not tell what its first item is: worn, ridden, a slice of something.

    Behind a comma it may be an item itself ("wearing glasses, a hat and a dog"), unless it opens the sentence.
    """
    ahead, comma, between = before.rpartition(",")
    if comma and not between.strip():
        return OPENING.match(ahead) is not None
    return FITS_ANY_THING.search(before) is not None


def _parts_the_living(text: str, items: Sequence[Item], kept: Sequence[bool]) -> bool:
    """Whether what is said, or owned, by one that goes would be by one that stays."""
    phrases = [text[span.start : span.end] for span, _ in items]
    if any(kept[n] and POSSESSIVE.match(phrase) and not all(kept[:n]) for n, phrase in enumerate(phrases)):
        return True
    last = next(phrase for phrase, stays in zip(reversed(phrases), reversed(kept), strict=True) if stays)
    lives, behind = LIVING.search(last) is not None, text[items[-1][0].end :]
    if sum(kept) == 1 and lives and THEIRS.search(behind):
        return True
    unlike = not kept[-1] and lives != (LIVING.search(phrases[-1]) is not None)
    return unlike and OF_THE_LIVING.match(behind) is not None


def _after_a_comma(before: str, behind: str, word: str) -> str | None:
    """Text before the only item left, where a comma ends it: after an opening it stays, after an item it is "and"."""
    ahead = before.rstrip()[:-1]
    if OPENING.match(ahead):
        return before
    if behind.startswith(",") or VERB_BEHIND.match(behind) or MODAL_BEHIND.match(behind):
        return None
    return f"{ahead.rstrip()} {word} "


def _joined(phrases: Sequence[str], joint: re.Match[str] | None) -> str:
    if joint is None:
        return ", ".join(phrases)
    comma, word = joint.groups()
    if len(phrases) < 3:
        return f" {word} ".join(phrases)
    return f"{', '.join(phrases[:-1])}{comma} {word} {phrases[-1]}"


def _agreeing(before: str, behind: str, left: Sequence[str]) -> tuple[str, str] | None:
    """Text on both sides of a list with its verb in the right number; None if the number cannot be told."""
    ahead, after = VERB_BEFORE.search(before), VERB_BEHIND.match(behind)
    if ahead is None and after is None:
        return before, behind
    alone, several = len(left) == 1, _is_plural(left[0])
    if several is None and alone:
        return None
    plural = bool(several) or (not alone and after is not None)
    if ahead and (alone or several):
        verb = NUMBER_OF[ahead.group(1).lower()][plural]
        verb = verb.capitalize() if ahead.group(1)[0].isupper() else verb
        before = before[: ahead.start(1)] + verb + ahead.group(2)
    if after:
        behind = after.group(1) + NUMBER_OF[after.group(2).lower()][plural] + behind[after.end() :]
    return before, behind


def _is_plural(phrase: str) -> bool | None:
    """By its first words; None if these do not tell."""
    word = phrase.split()[0].lower()
    if word in PLURAL or SEVERAL_THINGS.match(phrase):
        return True
    return False if word in SINGULAR else None
