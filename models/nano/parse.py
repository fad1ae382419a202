"""What a phrase is made of: its head noun, the words before it, its colours and its size."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

#: the eleven basic colour terms of Berlin and Kay, in the order of the colour classifier.
COLOURS = ("black", "white", "gray", "red", "green", "blue", "yellow", "orange", "purple", "pink", "brown")

#: other colour words -> the basic ones that they may be.
COLOUR_WORDS: dict[str, tuple[str, ...]] = {name: (name,) for name in COLOURS} | {
    "grey": ("gray",),
    "silver": ("gray", "white"),
    "dark": ("black", "gray"),
    "violet": ("purple",),
    "lilac": ("purple",),
    "magenta": ("pink", "purple"),
    "crimson": ("red",),
    "scarlet": ("red",),
    "maroon": ("red", "brown"),
    "navy": ("blue",),
    "turquoise": ("blue", "green"),
    "teal": ("blue", "green"),
    "cyan": ("blue",),
    "olive": ("green",),
    "lime": ("green",),
    "golden": ("yellow", "orange"),
    "gold": ("yellow", "orange"),
    "blond": ("yellow",),
    "blonde": ("yellow",),
    "beige": ("brown", "white"),
    "tan": ("brown",),
    "cream": ("white", "yellow"),
}
#: -1 for small things, +1 for large ones.
SIZE_WORDS = dict.fromkeys(("small", "little", "tiny", "miniature"), -1.0) | dict.fromkeys(
    ("big", "large", "huge", "giant", "enormous"), 1.0
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILLERS = _words(
    "a an the this that these those some any all every each both several many few more another other my "
    "your his her its our their one two three four five six seven eight nine ten which what there is are "
    "please find show me i you it just only very really coloured colored and or"
)
#: what follows these says where the thing is, what it does or what it is for: it is not the thing.
CUTS = _words(
    "with without in on at by near behind beside under below above over next between around inside "
    "outside from for to into onto through across along against during like as and or of who whose whom "
    "which that when where while wearing dressed holding carrying riding walking running sitting "
    "standing lying driving playing looking eating drinking talking waiting crossing moving jumping "
    "flying swimming skiing surfing sleeping using pushing pulling parked made going coming being having "
    "is are was has"
)
WEARING = frozenset(("in", "wearing", "dressed"))
#: "a slice of pizza" is about the pizza.
MEASURES = _words(
    "slice piece means mode form group crowd bunch herd flock pair row lot lots kind type sort pack "
    "stack pile part number couple set collection team swarm school bit dozen picture photo photograph "
    "image drawing"
)
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


@dataclass(frozen=True)
class ParsedPhrase:
    """A phrase, taken apart.

    Attributes:
        words: modifiers and, last, the head noun; lower case; empty when the phrase names no thing.
        colours: per basic colour 1 where the phrase allows it, else 0; all 0 when it names none.
        size: -1 small, +1 large, 0 unsaid.
    """

    words: tuple[str, ...]
    colours: tuple[float, ...]
    size: float


def tokenize(phrase: str) -> list[str]:
    """Cut `phrase` into lower-case words without punctuation; hyphens and possessives separate words."""
    folded = unicodedata.normalize("NFKC", phrase).casefold().replace(_APOSTROPHE, "'")
    words = []
    for match in _WORD.findall(folded):
        words += [part.removesuffix("'s") for part in re.split("-", match)]
    return [word for word in words if word]


def parse(phrase: str) -> ParsedPhrase:
    """Take `phrase` apart by rules; see `ParsedPhrase`."""
    words = tokenize(phrase)
    start = 0
    for number, word in enumerate(words[:-1]):
        if word == "of" and number and words[number - 1] in MEASURES | {m + "s" for m in MEASURES}:
            start = number + 1
    words = words[start:]
    end = next((n for n in range(len(words)) if _ends_noun(words, n) and _is_cut(words[:n])), len(words))
    noun_phrase = [word for word in words[:end] if word not in FILLERS] or words[:end]
    colours, size, kept = _attributes(noun_phrase)
    if end < len(words) and words[end] in WEARING:
        colours |= {word for word in words[end : end + 3] if word in COLOUR_WORDS}
    allowed = {basic for word in colours for basic in COLOUR_WORDS[word]}
    return ParsedPhrase(tuple(kept), tuple(float(name in allowed) for name in COLOURS), size)


def _ends_noun(words: list[str], place: int) -> bool:
    """Whether the word at `place` can follow a noun phrase: a preposition, or "leaning" in "leaning on"."""
    following = words[place + 1] if place + 1 < len(words) else ""
    return words[place] in CUTS or (words[place].endswith("ing") and following in CUTS - {"of"})


def _is_cut(before: list[str]) -> bool:
    """Whether enough came before a word for it to end the noun phrase: "riding boots" is not cut."""
    return any(word not in FILLERS and word not in COLOUR_WORDS and word not in SIZE_WORDS for word in before)


def _attributes(words: list[str]) -> tuple[set[str], float, list[str]]:
    """Take colour and size words out of a noun phrase; its last word is the head and stays."""
    *modifiers, head = words or [""]
    colours = {word for word in modifiers if word in COLOUR_WORDS}
    size = next((SIZE_WORDS[word] for word in modifiers if word in SIZE_WORDS), 0.0)
    kept = [word for word in modifiers if word not in COLOUR_WORDS and word not in SIZE_WORDS]
    return colours, size, [*kept, head] if head else []
