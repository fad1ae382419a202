from pathlib import Path

from house import Entered, read_calls, table

MODULE = '''"""A module."""


def shown(a: int, b: int = 0, *, c: int = 0) -> int:
    # Why it is so.
    return _once(a) + _twice(b) + _twice(c)


def _once(a: int) -> int:
    return a


def _twice(a: int) -> int:
    return 2 * a
'''


def test_the_table_counts_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "models" / "room").mkdir(parents=True)
    (tmp_path / "models" / "room" / "first.py").write_text(MODULE)
    (tmp_path / "models" / "room" / "second.py").write_text('"""Empty."""\n')
    row = table(tmp_path).splitlines()[-1]
    assert row == "| shipped | 2 | 0.0k | 2 | 1/14 | 2/3/3 | 3 | 33% | 11.1% |"


def test_calls_of_several_processes_are_added_and_each_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "1.calls").write_text(f"{tmp_path}/a.py\tf\tphrase\t1\n{tmp_path}/a.py\tf\tphrase\t5\n")
    (tmp_path / "2.calls").write_text(f"{tmp_path}/a.py\tf\tphrase\t1\n")
    assert read_calls(tmp_path, tmp_path) == [Entered("a.py", "f", "phrase", 6)]
