"""Noun phrases of an English sentence: what a person who writes a sentence wants to be found.

Words get coarse Penn tags, then the pattern "determiner? adjectives* nouns+" is cut out, as GLIP's own
demo does it. Tags come from spaCy when it is installed with `en_core_web_sm`, else from the rules below:
closed classes are listed, everything else is a noun unless its ending or its neighbours say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from groundstream.models.types import normalize_phrase


class Tagged(NamedTuple):
    """A word, its Penn tag (only DT, JJ, NN and "everything else" matter), and where it begins."""

    word: str
    tag: str
    start: int


def noun_phrases(sentence: str) -> list[str]:
    """Return the noun phrases of `sentence`, in order, as they are written in it.

    White space is normalised first. The list is empty when there is none ("quickly!").
    """
    text = normalize_phrase(sentence)
    return cut_phrases(text, _spacy_tags(text) or tag_words(text))


def cut_phrases(text: str, tagged: Sequence[Tagged]) -> list[str]:
    """Cut `text` where the tags match DT? JJ* NN+."""
    letters = "".join(_LETTER.get(word.tag[:2], "o") for word in tagged)
    found = []
    for match in re.finditer("D?J*N+", letters):
        first, last = tagged[match.start()], tagged[match.end() - 1]
        found.append(text[first.start : last.start + len(last.word)])
    return found


def tag_words(text: str) -> list[Tagged]:
    """Tag the words of `text` by rules."""
    found = list(re.finditer(r"\w+(?:(?!['\u2019]s\b)['\u2019-]+\w+)*|['\u2019]s\b|[^\w\s]", text))
    words = ["", *(match[0].casefold() for match in found), ""]
    tags = [""]
    for number in range(1, len(words) - 1):
        tags.append(_tag(words[number], _Context(tags[-1], words[number - 1], words[number + 1])))
    return [Tagged(match[0], tag, match.start()) for match, tag in zip(found, tags[1:], strict=True)]


class _Context(NamedTuple):
    """The neighbours of a word; all empty at the ends of a sentence."""

    tag_before: str
    before: str
    after: str


def _tag(word: str, context: _Context) -> str:
    closed = next((tag for tag, members in _CLOSED if word in members), "")
    if closed:
        return closed
    if not word[0].isalnum():
        return "."
    if word[0].isdigit():
        return "CD"
    if word in _ADJECTIVES or re.search(r".{3}(ous|ful|ish|ive|able|ible|less)$", word):
        return "JJ"
    if re.search(r".{2}(ing|ed)$", word) and word not in _NOUNS_LIKE_VERBS:
        return "JJ" if context.tag_before not in ("NN", "VB", "PRP") and _is_open(context.after) else "VB"
    if _stem(word) in _VERBS and _is_verb_here(word, context):
        return "VB"
    return "RB" if word.endswith("ly") and word not in _NOUNS_LIKE_ADVERBS else "NN"


def _is_open(word: str) -> bool:
    """Whether `word` is one of those that are not listed: a noun, an adjective or a verb."""
    return word[:1].isalpha() and not any(word in members for _, members in _CLOSED)


def _is_verb_here(word: str, context: _Context) -> bool:
    """Whether a word like "stop" is a verb: it agrees with a noun before it, or commands something."""
    if context.tag_before == "PRP":
        return True
    if context.tag_before == "NN":
        plural = context.before in _PLURALS or re.search(r"[^su]s$", context.before)
        return bool(plural) != word.endswith("s")
    if context.tag_before == ".":
        return context.after in _PREPOSITIONS
    return context.tag_before == "" and (context.after in _DETERMINERS or context.after in _PRONOUNS)


def _stem(word: str) -> str:
    if word in _VERBS:
        return word
    return word[:-2] if word.endswith("es") and word[:-2] in _VERBS else word.removesuffix("s")


@lru_cache(maxsize=1)
def _spacy_model() -> Any:
    """Return spaCy's small English model, or None when it is not installed."""
    try:
        return import_module("spacy").load("en_core_web_sm", disable=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError):
        return None


def _spacy_tags(text: str) -> list[Tagged]:
    model = _spacy_model()
    return [Tagged(token.text, token.tag_, token.idx) for token in model(text)] if model else []


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LETTER = {"DT": "D", "JJ": "J", "NN": "N"}
_DETERMINERS = _words("a an the this that these those some any each every another no both all")
_PRONOUNS = _words(
    "i me my you your he him his she her it its we us our they them their who whom whose which what "
    "someone something anyone anything everyone everything nobody nothing one ones there here"
)
_PREPOSITIONS = _words(
    "in on at of with by from to into onto over under near behind beside between next above below across "
    "against along among around before after during for off out outside inside past through toward "
    "towards up down without within upon as like than"
)
_LINKING = _words(
    "is are was were be been being am has have had having do does did will would can could may might "
    "must shall should"
)
_OTHERS = _words(
    "and or but nor while when where if because so then not very too just also only quite now again "
    "please together away back left-hand right-hand"
)
_NUMBERS = _words(
    "two three four five six seven eight nine ten eleven twelve twenty hundred several many few"
)
_CLOSED = (
    ("DT", _DETERMINERS),
    ("PRP", _PRONOUNS),
    ("IN", _PREPOSITIONS),
    ("VB", _LINKING),
    ("CC", _OTHERS),
    ("CD", _NUMBERS),
)
_ADJECTIVES = _words(
    "black white gray grey red green blue yellow orange purple pink brown beige golden silver dark light "
    "bright big small little large huge tiny tall short long wide thin thick old new young wooden metal "
    "plastic round square empty full open wet dry clean dirty hot cold heavy fast slow same other "
    "first last own female male striped bald furry fluffy sunny happy sad"
)
_PLURALS = _words("people men women children kids policemen firemen mice geese feet")
_VERBS = _words(
    "walk run stand sit ride drive hold carry wear look watch eat drink play jump wait cross enter leave "
    "talk sleep bark fly swim climb push pull throw catch kick read write open close lie lean move stop "
    "turn follow smile wave dance cook cut use work find show detect track count locate highlight "
    "search spot tell give see get take make put go come appear approach pass chase graze rest"
)
_NOUNS_LIKE_VERBS = _words(
    "building ceiling painting clothing thing string ring king wing railing crossing parking icing "
    "sibling earring bed shed sled seed weed reed breed speed feed"
)
_NOUNS_LIKE_ADVERBS = _words(
    "family fly butterfly dragonfly belly jelly bully lily assembly ally trolly holly dolly"
)
