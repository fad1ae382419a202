"""Which words mean which of the 80 classes: hand-written everyday words over WordNet 3.0's noun hierarchy.

WordNet's files come from the Debian package `wordnet-base`: `apt-get download wordnet-base`, then
`dpkg -x wordnet-base_*.deb FOLDER`; `read_lexicon(FOLDER / "usr/share/wordnet")`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundstream.models.nano.config import COCO_NAMES
from groundstream.models.nano.parse import tokenize
from training.data import everyday

#: class -> WordNet lemmas with the number of the sense; what is below these in the hierarchy is of the class.
ANCHORS = """
person: person 1, operator 2
bicycle: bicycle 1
car: car 1
motorcycle: motorcycle 1, minibike 1, motor_scooter 1, moped 1
airplane: airplane 1
bus: bus 1
train: train 1, locomotive 1
truck: truck 1, van 5
boat: boat 1, ship 1, vessel 2
traffic light: traffic_light 1
fire hydrant: fireplug 1
parking meter: parking_meter 1
bench: bench 1
bird: bird 1
cat: cat 1
dog: dog 1
horse: horse 1
sheep: sheep 1
cow: cow 1, cattle 1
elephant: elephant 1
bear: bear 1
zebra: zebra 1
giraffe: giraffe 1
backpack: backpack 1
umbrella: umbrella 1
handbag: handbag 1
tie: necktie 1
suitcase: suitcase 1, briefcase 1
frisbee: frisbee 1
skis: ski 1
snowboard: snowboard 1
sports ball: ball 1
kite: kite 3
baseball bat: baseball_bat 1
baseball glove: baseball_glove 1
skateboard: skateboard 1
surfboard: surfboard 1
tennis racket: tennis_racket 1, squash_racket 1, badminton_racket 1
bottle: bottle 1
wine glass: wineglass 1, goblet 1
cup: cup 1, mug 4
fork: fork 1
knife: knife 1
spoon: spoon 1
bowl: bowl 1
banana: banana 2
apple: apple 1
sandwich: sandwich 1
orange: orange 1
broccoli: broccoli 2
carrot: carrot 1
hot dog: hotdog 2
pizza: pizza 1
donut: doughnut 2
cake: cake 3
chair: chair 1
couch: sofa 1
potted plant: pot_plant 1, houseplant 1
bed: bed 1
dining table: dining_table 1
toilet: toilet 2
tv: television_receiver 1, monitor 4
laptop: laptop 1
mouse: mouse 4
remote: remote_control 1
keyboard: computer_keyboard 1
cell phone: cellular_telephone 1
microwave: microwave 2
oven: oven 1, stove 1
toaster: toaster 2
sink: sink 1, washbasin 1
refrigerator: refrigerator 1
book: book 2
clock: clock 1
vase: vase 1
scissors: scissors 1
teddy bear: teddy 1
hair drier: hand_blower 1
toothbrush: toothbrush 1
"""
#: senses that hold less of a word's use than this do not count.
SMALLEST_SHARE = 0.34
#: a kind of person that was counted less often than this gives way to a thing of the same name. WordNet puts
#: senses that nobody counted in the order of its files, people first: a hanger is a hangman there.
FEWEST_PEOPLE = 3
#: a word above a class means that class where at most so many synsets lie below the word.
WIDEST_CLOSURE = 800

Words = tuple[str, ...]  # modifiers and, last, the head noun
Meaning = tuple[float, ...]  # one gate per class, 0..1
NO_CLASS: Meaning = (0.0,) * len(COCO_NAMES)
PERSON = COCO_NAMES.index("person")


@dataclass(frozen=True)
class WordNet:
    """Nouns: the synsets of each lemma, most used first, with counts; the synsets below and above each."""

    senses: Mapping[str, tuple[str, ...]]
    counts: Mapping[tuple[str, int], int]
    below: Mapping[str, tuple[str, ...]]
    above: Mapping[str, tuple[str, ...]]

    def closure(self, synset: str) -> set[str]:
        """Return `synset` and all synsets below it."""
        found, waiting = {synset}, [synset]
        while waiting:
            for child in self.below.get(waiting.pop(), ()):
                if child not in found:
                    found.add(child)
                    waiting.append(child)
        return found

    def shares(self, lemma: str, without: Collection[str] = ()) -> dict[str, float]:
        """Return how much of the use of `lemma` falls on each of its synsets but those in `without`."""
        weights = {
            synset: self.counts.get((lemma, n), 0) + 0.5 / n
            for n, synset in enumerate(self.senses[lemma], 1)
            if synset not in without
        }
        return {synset: weight / sum(weights.values()) for synset, weight in weights.items()}


def read_wordnet(folder: Path) -> WordNet:
    """Read the noun files of WordNet 3.0 in `folder`; named individuals are left out."""
    below: dict[str, list[str]] = defaultdict(list)
    above: dict[str, list[str]] = defaultdict(list)
    for line in _lines(folder / "data.noun"):
        fields = line.split(" | ")[0].split()
        start = 4 + 2 * int(fields[3], 16)
        pointers = fields[start + 1 : start + 1 + 4 * int(fields[start])]
        for kind, target in zip(pointers[::4], pointers[1::4], strict=True):
            if kind == "@":
                below[target].append(fields[0])
                above[fields[0]].append(target)
    senses = {}
    for line in _lines(folder / "index.noun"):
        fields = line.split()
        senses[fields[0]] = tuple(fields[-int(fields[2]) :])
    counts = {}
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith("1:"):
            counts[lemma, int(number)] = int(count)
    return WordNet(senses, counts, *({k: tuple(v) for k, v in links.items()} for links in (below, above)))


def read_lexicon(folder: Path) -> dict[Words, Meaning]:
    """Return words (modifiers and, last, the head) -> meaning; words outside the 80 classes mean zeros.

    Args:
        folder: WordNet's own files (`data.noun`, `index.*`, `cntlist.rev`, `noun.exc`).
    """
    wordnet = read_wordnet(folder)
    irregular = read_irregular(folder / "noun.exc")
    lexicon = dict.fromkeys(_other_words(folder), NO_CLASS) | wordnet_meanings(wordnet)
    return with_plurals(lexicon, irregular) | with_plurals(hand_written(), irregular)


def counted_words(wordnet: WordNet) -> set[Words]:
    """Return the nouns that WordNet's authors counted in texts: those that people use."""
    return {tuple(tokenize(lemma.replace("_", " "))) for lemma, _ in wordnet.counts} - {()}


def wordnet_meanings(wordnet: WordNet) -> dict[Words, Meaning]:
    """Return every noun of WordNet with the classes that its commoner senses lie in."""
    classes_of: dict[str, set[int]] = defaultdict(set)
    for number, synsets in enumerate(_anchors(wordnet)):
        for anchor in synsets:
            for synset in wordnet.closure(anchor) | _narrow_ancestors(wordnet, anchor):
                classes_of[synset].add(number)
    people = {synset for synset, classes in classes_of.items() if PERSON in classes}
    things = wordnet.closure(wordnet.senses["physical_entity"][0]) - people
    meanings = {}
    for lemma in wordnet.senses:
        if not (words := tuple(tokenize(lemma.replace("_", " ")))):
            continue
        shares = [0.0] * len(COCO_NAMES)
        for synset, share in wordnet.shares(lemma, _unlikely(wordnet, lemma, people, things)).items():
            for number in classes_of.get(synset, ()):
                shares[number] += share
        meanings[words] = tuple(min(1.0, 0.4 + s) if s >= SMALLEST_SHARE else 0.0 for s in shares)
    return meanings


def _unlikely(wordnet: WordNet, lemma: str, people: set[str], things: set[str]) -> set[str]:
    """Return the `people` that `lemma` hardly ever means, where it means one of the `things`, too."""
    senses = wordnet.senses[lemma]
    rare = (s for n, s in enumerate(senses, 1) if wordnet.counts.get((lemma, n), 0) < FEWEST_PEOPLE)
    return people.intersection(rare) if things.intersection(senses) else set()


def _narrow_ancestors(wordnet: WordNet, synset: str) -> set[str]:
    """Return the synsets above `synset` that are narrow enough to ask for: "carnivore", not "artifact"."""
    above = set(wordnet.above.get(synset, ()))
    for parent in tuple(above):
        above |= _narrow_ancestors(wordnet, parent)
    return {parent for parent in above if len(wordnet.closure(parent)) <= WIDEST_CLOSURE}


def everyday_meanings() -> Iterator[tuple[Words, Meaning]]:
    """Yield the hand-written words with their classes."""
    groups = {
        name: [(c.strip(), 1.0) for c in members.split(",")] for name, members in _records(everyday.GROUPS)
    }
    for words, members in _records(everyday.WORDS):
        gates = [0.0] * len(COCO_NAMES)
        for member in filter(None, (part.strip() for part in members.split(","))):
            for name, weight in groups[member[1:]] if member.startswith("@") else [_weighted(member)]:
                gates[COCO_NAMES.index(name)] = weight
        for entry in _entries(words):
            yield entry, tuple(gates)


def hand_written() -> dict[Words, Meaning]:
    """Return the names of the classes and all hand-written words, with their meanings."""
    meanings = dict.fromkeys(_entries(everyday.NOTHING), NO_CLASS)
    meanings |= {words: one_hot("person") for words in _entries(everyday.PEOPLE)}
    return (
        meanings | {tuple(tokenize(name)): one_hot(name) for name in COCO_NAMES} | dict(everyday_meanings())
    )


def one_hot(name: str) -> Meaning:
    """Return the meaning that is class `name` alone."""
    return tuple(float(other == name) for other in COCO_NAMES)


def plurals(word: str, irregular: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the plural forms of an English noun: the regular one and those that `irregular` knows."""
    regular = word + "s"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        regular = word + "es"
    elif word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        regular = word[:-1] + "ies"
    elif word.endswith("man"):
        regular = word[:-2] + "en"
    return [regular, *irregular.get(word, ())]


def read_irregular(path: Path) -> dict[str, list[str]]:
    """Return WordNet's irregular plurals (`noun.exc`) by their singulars."""
    irregular: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        form, singular = line.split()[:2]
        irregular[singular].append(form)
    return irregular


def with_plurals(
    meanings: Mapping[Words, Meaning], irregular: Mapping[str, Sequence[str]]
) -> dict[Words, Meaning]:
    """Return `meanings` and, where they lack them, the plurals of their words."""
    found: dict[Words, Meaning] = {}
    for words, meaning in meanings.items():
        *modifiers, head = words
        if not (head.endswith("s") and (*modifiers, head[:-1]) in meanings):
            found |= {(*modifiers, form): meaning for form in plurals(head, irregular)}
    return found | dict(meanings)


def _other_words(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield single adjectives and verbs: alone they name no thing."""
    for name in ("index.adj", "index.verb"):
        words = (tuple(tokenize(line.split()[0].replace("_", " "))) for line in _lines(folder / name))
        yield from (entry for entry in words if len(entry) == 1)


def _anchors(wordnet: WordNet) -> Iterator[list[str]]:
    anchors = dict(_records(ANCHORS))
    for name in COCO_NAMES:
        pairs = [part.split() for part in anchors.get(name, "").split(",") if part.strip()]
        yield [wordnet.senses[lemma][int(sense) - 1] for lemma, sense in pairs]


def _records(text: str) -> Iterator[tuple[str, str]]:
    """Yield (left, right) of the `left: right` records of `text`; a comma at a line's end goes on."""
    pending: list[str] = []
    for line in text.strip().replace(",\n", ", ").splitlines():
        pending.append(line)
        if ":" in line:
            left, _, right = " ".join(pending).partition(":")
            yield left.strip(), right.strip()
            pending = []


def _weighted(member: str) -> tuple[str, float]:
    name, _, weight = member.rpartition(" ")
    return (name, float(weight)) if weight.replace(".", "").isdigit() else (member, 1.0)


def _entries(text: str) -> Iterator[tuple[str, ...]]:
    return (tuple(tokenize(word)) for word in text.split())


def _lines(path: Path) -> Iterator[str]:
    return (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  "))
