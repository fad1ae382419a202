"""Makes the dictionary of the open branch: the words of `concepts.tsv`, and WordNet's words below them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundstream.models.nano.open_branch import OpenWords
from groundstream.models.nano.parse import COLOUR_WORDS, tokenize
from training.data.lexicon import (
    SMALLEST_SHARE,
    WordNet,
    Words,
    plurals,
    read_irregular,
    read_wordnet,
)
from training.scenes.vocabulary import Vocabulary

#: concepts that the rule below would give a wrong meaning ("seal" the stamp, "man" the valet); read by eye.
MISTAKEN = frozenset(
    (
        *("bus", "cable car", "chicken", "child", "christmas tree", "clown", "dolphin", "dragon", "fairy"),
        *("fruit", "jeans", "jellyfish", "lab coat", "lollipop", "man", "peacock", "person", "plant"),
        *("runner", "scooter", "seahorse", "siren", "spaghetti", "tv", "whale", "woman"),
    )
)
#: a meaning with more synsets below it is too wide for one concept.
WIDEST = 900
#: so many points make a meaning certain: see `_score`.
CERTAIN = 2.4


def open_words(vocabulary: Vocabulary, concepts: Sequence[str], wordnet_folder: Path) -> OpenWords:
    """Return the dictionary for the pictured `concepts`, which number as they stand.

    Args:
        vocabulary: names, synonyms and kinds.
        concepts: what the branch can tell apart.
        wordnet_folder: `data.noun`, `index.noun`, `cntlist.rev`, `noun.exc` of WordNet 3.0.
    """
    irregular = read_irregular(wordnet_folder / "noun.exc")
    entries = _with_plurals(wordnet_entries(read_wordnet(wordnet_folder), vocabulary, concepts), irregular)
    entries |= _with_plurals(vocabulary_entries(vocabulary, concepts), irregular)
    said_by_colour = [w for w in entries if len(w) > 1 and w[0] in COLOUR_WORDS and w[1:] in entries]
    for words in said_by_colour:  # "white coat" is a coat that is white
        del entries[words]
    return OpenWords(entries, len(concepts))


def vocabulary_entries(vocabulary: Vocabulary, concepts: Sequence[str]) -> dict[Words, tuple[int, ...]]:
    """Return every word of the vocabulary with the pictured concepts that it surely fits."""
    entries = {}
    for concept in vocabulary.concepts.values():
        for word in concept.words:
            meant = [n for n, name in enumerate(concepts) if vocabulary.match(word, name) == 2]
            if meant:
                entries[tuple(tokenize(word))] = tuple(meant)
    return entries


def wordnet_entries(
    wordnet: WordNet, vocabulary: Vocabulary, concepts: Sequence[str]
) -> dict[Words, tuple[int, ...]]:
    """Return the nouns whose commoner senses lie below the sense of a concept."""
    below: dict[str, set[int]] = defaultdict(set)
    for name in vocabulary.concepts:
        meant = [n for n, other in enumerate(concepts) if vocabulary.match(name, other) == 2]
        synset = None if name in MISTAKEN else find_synset(wordnet, vocabulary, name)
        closure = wordnet.closure(synset) if synset and meant else set()
        for each in closure if len(closure) <= WIDEST else ():
            # What lies below a narrower concept, too, means that one.
            below[each] = set(meant) if not below[each] or len(meant) < len(below[each]) else below[each]
    entries = {}
    for lemma in wordnet.senses:
        numbers: set[int] = set()
        for synset, share in wordnet.shares(lemma).items():
            numbers |= below[synset] if share >= SMALLEST_SHARE and synset in below else set()
        words = tuple(tokenize(lemma.replace("_", " ")))
        if numbers and words:
            entries[words] = tuple(sorted(numbers))
    return entries


def find_synset(wordnet: WordNet, vocabulary: Vocabulary, name: str) -> str | None:
    """Return the sense of a concept that is certain: its kinds lie above it, its synonyms share it."""
    concept = vocabulary.concepts[name]
    kinds = [word for kind in vocabulary.kinds(name) for word in vocabulary.concepts[kind].words]
    above = {synset for word in kinds for synset in wordnet.senses.get(_lemma(word), ())}
    shared = {synset for word in concept.synonyms for synset in wordnet.senses.get(_lemma(word), ())}
    best = max(
        (
            (_score(wordnet, synset, share, above, shared if place == 0 else set(), place), synset)
            for place, word in enumerate(concept.words)
            if _lemma(word) in wordnet.senses
            for synset, share in wordnet.shares(_lemma(word)).items()
        ),
        default=(0.0, ""),
    )
    return best[1] if best[0] >= CERTAIN else None


def _score(
    wordnet: WordNet, synset: str, share: float, above: set[str], shared: set[str], place: int
) -> float:
    """Two points for a kind above, one for a synonym, the sense's share; later synonyms count less."""
    ancestors = _ancestors(wordnet, synset) | {synset}
    physical = wordnet.senses["physical_entity"][0] in ancestors
    points = 2.0 * bool(above & ancestors) + 1.0 * (synset in shared) + share + (0.5 if physical else -2.0)
    return points - (0.8 * min(place, 1) + 0.1 * max(place - 1, 0))


def _ancestors(wordnet: WordNet, synset: str) -> set[str]:
    found, waiting = set[str](), [synset]
    while waiting:
        fresh = set(wordnet.above.get(waiting.pop(), ())) - found
        found |= fresh
        waiting += fresh
    return found


def _lemma(word: str) -> str:
    return word.replace(" ", "_")


def _with_plurals(
    entries: Mapping[Words, tuple[int, ...]], irregular: Mapping[str, Sequence[str]]
) -> dict[Words, tuple[int, ...]]:
    found: dict[Words, tuple[int, ...]] = {}
    for words, numbers in entries.items():
        if not (words[-1].endswith("s") and (*words[:-1], words[-1][:-1]) in entries):
            found |= {(*words[:-1], form): numbers for form in plurals(words[-1], irregular)}
    return found | dict(entries)
