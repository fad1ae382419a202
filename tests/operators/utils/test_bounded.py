from groundstream.operators.utils.bounded import BoundedDict


def filled(most_bytes: int = 10, **sizes: int) -> BoundedDict[str, str]:
    values = BoundedDict[str, str](most_bytes)
    for key, size_bytes in sizes.items():
        values.put(key, key.upper(), size_bytes)
    return values


def test_the_oldest_go() -> None:
    values = filled(a=4, b=4)
    assert values.put("c", "C", 7) == ["A", "B"]
    assert (values.size_bytes, values.dropped, len(values)) == (7, 2, 1)


def test_one_alone_may_be_larger() -> None:
    values = filled(a=4)
    assert values.put("b", "B", 99) == ["A"]
    assert values.get("b") == "B"


def test_touched_ones_stay() -> None:
    values = filled(a=4, b=4)
    assert values.get("a", touch=True) == "A"
    assert values.put("c", "C", 4) == ["B"]


def test_putting_again_counts_once_and_makes_it_the_newest() -> None:
    values = filled(a=4, b=4)
    values.put("a", "A2", 5)
    assert values.size_bytes == 9
    assert values.oldest(2) == [("b", "B"), ("a", "A2")]


def test_what_is_removed_does_not_count_as_dropped() -> None:
    values = filled(a=4, b=4)
    values.remove(["a", "gone"])
    assert "a" not in values
    assert (values.size_bytes, values.oldest(9), values.dropped) == (4, [("b", "B")], 0)
