"""What a memory is worth: every clip clean and spoiled, with and without an adapter, and the table of it.

`benchmark.Benchmark` asks, `measure` answers and marks, `metrics` and `tracks` count; truth is what the
frozen model says of clean frames (`truth`). For `eval temporal`, and for `adapt` before it saves.
"""
