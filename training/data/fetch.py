"""Fetch the pictures that scenes are made of, from package registries, and pack them into a bank.

`python -m training.data.fetch FOLDER` needs npm, apt-get and dpkg-deb (Debian or
Ubuntu) and about 3.5 GB in FOLDER. What was fetched stays in FOLDER/packages; nothing of it belongs in the
repository. Drawing SVG and 3-D models needs resvg_py and vtk, which go into a virtual environment of their
own inside FOLDER. Every step keeps what is there, so the command can be repeated after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from training import DATA
from training.data import render
from training.data.pack import Picture, pack
from training.data.rcc import unpack_rcc

NPM = {
    "fluent-3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "noto": "@iconify-json/noto@1.2.9",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "openmoji": "@iconify-json/openmoji@1.2.29",
}
DEBIAN = (
    "sweethome3d-furniture",
    "openclipart-svg",
    "lomiri-wallpapers-16.04",
    "opencv-doc",
    "tuxpaint-stamps-default",
    "gcompris-qt-data",
    "wordnet-base",
)
#: of gcompris, the activities whose photographs are used.
ACTIVITIES = ("categorization", "explore_world_animals")
SCIKIT_IMAGE = "scikit-image==0.26.0"
TOOLS = ("resvg_py", "vtk", "numpy", "pillow")
#: the noun files of WordNet, for the dictionary.
WORDNET = ("data.noun", "index.noun", "cntlist.rev", "noun.exc")
ICON_SETS = ("noto", "fluent_flat", "twemoji", "openmoji")


def main() -> None:
    """Fetch, draw and pack into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where packages, pictures and the bank go (about 3.5 GB)")
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = fetch_packages(folder)
    pictures, jobs = plan(unpacked, folder / "pictures")
    draw(jobs, folder)
    count, photographs = pack(pictures, _photographs(unpacked), folder / "bank")
    print(f"{count} sprites and {photographs} photographs in {folder / 'bank'}")


def fetch_packages(folder: Path) -> Path:
    """Download and unpack all packages; return the folder that holds one folder per package."""
    packages, unpacked = folder / "packages", folder / "unpacked"
    packages.mkdir(exist_ok=True)
    unpacked.mkdir(exist_ok=True)
    for style, name in NPM.items():
        once(unpacked / style, partial(_from_npm, name, packages))
    for name in DEBIAN:
        once(unpacked / name, partial(_from_debian, name, packages))
    once(unpacked / "scikit-image", partial(_from_pip, SCIKIT_IMAGE, packages))
    once(unpacked / "furniture", partial(_catalogs, unpacked / "sweethome3d-furniture"))
    once(unpacked / "gcompris", partial(_activities, unpacked / "gcompris-qt-data"))
    once(folder / "wordnet", partial(_wordnet, unpacked / "wordnet-base"))
    return unpacked


def once(target: Path, make: Callable[[Path], None]) -> None:
    """Let `make` fill a folder that becomes `target` when it is complete; do nothing where that exists."""
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    make(part)
    part.rename(target)


def _from_npm(name: str, packages: Path, target: Path) -> None:
    reply = run("npm", "pack", "--silent", name, cwd=packages)
    with tarfile.open(packages / reply.split()[-1]) as archive:
        archive.extractall(target, filter="data")


def _from_debian(name: str, packages: Path, target: Path) -> None:
    run("apt-get", "download", name, cwd=packages)
    archive = max(packages.glob(f"{name}_*.deb"), key=lambda file: file.stat().st_mtime)
    run("dpkg-deb", "-x", str(archive), str(target), cwd=packages)


def _from_pip(requirement: str, packages: Path, target: Path) -> None:
    run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement, cwd=packages)
    (wheel,) = packages.glob(requirement.replace("-", "_").replace("==", "-") + "-*.whl")
    _unzip(wheel, target)


def _catalogs(package: Path, target: Path) -> None:
    for catalog in package.rglob("*.sh3f"):
        _unzip(catalog, target / catalog.stem)


def _activities(package: Path, target: Path) -> None:
    for activity in ACTIVITIES:
        unpack_rcc(package / "usr/share/gcompris-qt/rcc" / f"{activity}.rcc", target)


def _wordnet(package: Path, target: Path) -> None:
    for file in WORDNET:
        shutil.copy(package / "usr/share/wordnet" / file, target)


def _unzip(archive: Path, target: Path) -> None:
    run(sys.executable, "-m", "zipfile", "-e", str(archive), str(target), cwd=target.parent)


def run(*command: str, cwd: Path) -> str:
    """Run a registry's client and return what it printed.

    Raises:
        SystemExit: the client is not installed or fails; says which command, and what it said.
    """
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError:
        raise SystemExit(
            f"{command[0]} was not found; install it (the sources come from npm, apt and pip)"
        ) from None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def rows(table: str) -> list[dict[str, str]]:
    """Return the rows of one of the package's tables (`emoji.tsv`, ...), by column name."""
    with (DATA / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def plan(unpacked: Path, pictures: Path) -> tuple[list[Picture], list[dict[str, str]]]:
    """List every picture to be packed, and the drawing jobs that make those that are not files yet."""
    wanted: list[Picture] = []
    jobs: list[dict[str, str]] = []
    for picture, job in (
        *_emoji(unpacked, pictures),
        *_clipart(unpacked, pictures),
        *_furniture(unpacked, pictures),
        *_stamps(unpacked),
    ):
        wanted.append(picture)
        if job is not None and job not in jobs[-len(render.VIEWS) :]:
            jobs.append(job)
    return wanted, jobs


Planned = Iterator[tuple[Picture, dict[str, str] | None]]


def _emoji(unpacked: Path, pictures: Path) -> Planned:
    sets = {name: _icons(unpacked / name.replace("_", "-")) for name in ICON_SETS}
    for row in rows("emoji.tsv"):
        if row["fluent3d"]:
            (file,) = (unpacked / "fluent-3d").rglob(row["fluent3d"])
            yield Picture("fluent-3d", row["hexcode"], row["concept"], file), None
        for name, icons in sets.items():
            if row[name] in icons:
                style = name.replace("_", "-")
                out = pictures / style / f"{row['hexcode']}.png"
                job = {"kind": "svg", "svg": icons[row[name]], "out": str(out)}
                yield Picture(style, row["hexcode"], row["concept"], out), job


def _icons(folder: Path) -> dict[str, str]:
    content = json.loads((folder / "package" / "icons.json").read_text())
    drawings = {}
    for name, icon in content["icons"].items():
        edges = [icon.get(key, content.get(key, preset)) for key, preset in _VIEW_BOX]
        box = " ".join(str(edge) for edge in edges)
        drawings[name] = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="{_XLINK}" viewBox="{box}">'
        drawings[name] += icon["body"] + "</svg>"
    return drawings


_XLINK = "http://www.w3.org/1999/xlink"
_VIEW_BOX = (("left", 0), ("top", 0), ("width", 16), ("height", 16))


def _clipart(unpacked: Path, pictures: Path) -> Planned:
    root = unpacked / "openclipart-svg" / "usr/share/openclipart/svg"
    for row in rows("clipart.tsv"):
        key = row["path"].removesuffix(".svg").replace("/", "-")
        out = pictures / "clipart" / f"{key}.png"
        job = {"kind": "svg", "source": str(root / row["path"]), "out": str(out)}
        yield Picture("clipart", key, row["concept"], out), job


def _furniture(unpacked: Path, pictures: Path) -> Planned:
    for row in rows("furniture.tsv"):
        root = unpacked / "furniture" / row["catalog"]
        icon, model = root / row["icon"].lstrip("/"), root / row["model"].lstrip("/")
        key = f"{row['catalog']}-{model.stem}"
        yield Picture("furniture-icon", key, row["concept"], icon), None
        out = pictures / "furniture-render" / key
        job = {"kind": "obj", "source": str(model), "out": str(out)}
        for view in range(len(render.VIEWS)):
            file = out.with_name(f"{out.name}-{view}.png")
            yield Picture("furniture-render", f"{key}-{view}", row["concept"], file, like=icon), job


def _stamps(unpacked: Path) -> Planned:
    root = unpacked / "tuxpaint-stamps-default" / "usr/share/tuxpaint/stamps"
    for row in rows("stamps.tsv"):
        yield Picture("stamps", row["path"], row["concept"], root / row["path"]), None


def draw(jobs: list[dict[str, str]], folder: Path) -> None:
    """Run the drawing jobs in an environment of their own."""
    python = folder / "tools" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "tools", with_pip=True)
        run(str(python), "-m", "pip", "install", "-q", *TOOLS, cwd=folder)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    while subprocess.run([str(python), render.__file__, str(folder / "jobs.json")]).returncode < 0:  # noqa: S603
        print("a 3-D model brought the renderer down; going on without it", file=sys.stderr)


def _photographs(unpacked: Path) -> Iterator[tuple[dict[str, str], Path]]:
    for row in rows("photographs.tsv"):
        (file, *_) = sorted((unpacked / row["package"]).rglob(row["path"] + "*"))
        yield row, file


if __name__ == "__main__":
    main()
