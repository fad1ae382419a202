"""How the models that ship are made: scenes, tables, recipes, measurements; from a checkout, never packaged.

Rooms: `scenes` < `data` < `glip` < `nano`, `temporal` < `bench`; all of them may import `groundstream`.
"""

from pathlib import Path

#: the folder of the tables.
DATA = Path(__file__).parent / "data"
