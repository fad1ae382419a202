from __future__ import annotations

from pathlib import Path

from groundstream.operators.text.stores import HandedTexts, open_text_store


def test_what_one_encodes_is_handed_out_once_and_found_by_the_other() -> None:
    one, other = HandedTexts(None), HandedTexts(None)
    one.put_many({"dog": b"1", "cat": b"2"})
    handed = one.hand_out()
    assert handed == {"dog": b"1", "cat": b"2"}
    assert one.hand_out() == {}
    other.hand_in(handed)
    assert other.get_many(["dog", "bird"]) == {"dog": b"1"}
    assert other.hand_out() == {}


def test_the_shared_store_is_asked_for_the_rest_and_given_what_is_new(tmp_path: Path) -> None:
    store = open_text_store(str(tmp_path / "text.sqlite"))
    assert store is not None
    store.put_many({"old": b"0"})
    texts = HandedTexts(store)
    texts.hand_in({"handed": b"1"})
    texts.put_many({"new": b"2"})
    assert texts.get_many(["old", "handed", "new"]) == {"old": b"0", "handed": b"1", "new": b"2"}
    assert texts.hand_out() == {"old": b"0", "new": b"2"}
    assert store.get_many(["new", "handed"]) == {"new": b"2"}
    texts.close()


def test_what_is_kept_is_bounded() -> None:
    texts = HandedTexts(None, most_bytes=10)
    for number in range(5):
        texts.put_many({str(number): b"1234"})
    texts.put_many({"4": b"12345"})
    assert texts.get_many([str(number) for number in range(5)]) == {"3": b"1234", "4": b"12345"}
    assert set(texts.hand_out()) == {"3", "4"}


def test_what_had_to_go_is_not_handed_out_either() -> None:
    texts = HandedTexts(None, most_bytes=10)
    texts.put_many({"mine": b"1234", "too large": b"12345678901"})
    texts.hand_in({"theirs": b"12345678"})
    assert texts.hand_out() == {}
