"""Draw SVG files and 3-D models as PNG pictures with transparency; run by `training.data.fetch` with its
own Python.

Usage: `python render.py JOBS.json`, where the file lists objects {"kind": "svg" | "obj", "source":
..., "out": ...}. An SVG job has `svg` (the text) or `source`; an OBJ job writes one picture per view,
`OUT-0.png` and so on. Pictures that exist are kept, so an interrupted run goes on where it stopped. It
stands alone (it imports nothing of groundstream) because resvg_py and vtk are tools of the fetch step, not
of the project.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

#: Width of an SVG picture and both sides of a 3-D view, in pixels.
SIZE_PX = 256
#: Azimuth and elevation in degrees of each 3-D view; front and back, eye level and from above.
VIEWS = ((25, 20), (-40, 12), (75, 15), (-20, 40), (150, 20))


def main(jobs_file: str) -> None:
    """Do all jobs of `jobs_file`; a job that fails is reported and skipped."""
    for job in json.loads(Path(jobs_file).read_text()):
        try:
            draw = draw_svg if job["kind"] == "svg" else draw_model
            draw(job)
        except Exception as error:  # one bad drawing among thousands must not stop the others
            print(f"skipped {job['out']}: {error}", file=sys.stderr)


def draw_svg(job: dict[str, str]) -> None:
    """Draw one SVG, given as text or as a file, `SIZE_PX` wide."""
    out = Path(job["out"])
    if out.exists():
        return
    resvg: Any = importlib.import_module("resvg_py")
    what = {"svg_string": job["svg"]} if "svg" in job else {"svg_path": job["source"]}
    # Without a dpi, sizes given in pt or mm are refused; without fonts, text stays out of the drawing.
    png = resvg.svg_to_bytes(**what, width=SIZE_PX, dpi=96, skip_system_fonts=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(bytes(png))


def draw_model(job: dict[str, str]) -> None:
    """Draw every view of one OBJ model with its textures."""
    out, source = Path(job["out"]), Path(job["source"])
    targets = [out.with_name(f"{out.name}-{number}.png") for number in range(len(VIEWS))]
    started = out.with_name(f"{out.name}.started")
    if started.exists() or all(target.exists() for target in targets):
        return
    vtk: Any = importlib.import_module("vtk")
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Some models bring the whole interpreter down; the mark that they leave keeps the next run away.
    started.touch()
    window, renderer = _open_scene(vtk, source)
    for (azimuth, elevation), target in zip(VIEWS, targets, strict=True):
        _look_from(renderer, azimuth, elevation)
        window.Render()
        _save(vtk, window, target)
    window.Finalize()
    started.unlink()


def _open_scene(vtk: Any, source: Path) -> tuple[Any, Any]:
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetSize(SIZE_PX, SIZE_PX)
    window.SetAlphaBitPlanes(1)
    window.SetMultiSamples(8)
    window.AddRenderer(renderer)
    importer = vtk.vtkOBJImporter()
    importer.SetFileName(str(source))
    if source.with_suffix(".mtl").exists():
        importer.SetFileNameMTL(str(source.with_suffix(".mtl")))
    importer.SetTexturePath(str(source.parent))
    importer.SetRenderWindow(window)
    importer.Update()
    renderer.SetBackgroundAlpha(0.0)
    _light(vtk, renderer)
    return window, renderer


def _light(vtk: Any, renderer: Any) -> None:
    renderer.AutomaticLightCreationOff()
    renderer.RemoveAllLights()
    vtk.vtkLightKit().AddLightsToRenderer(renderer)
    actors = renderer.GetActors()
    actors.InitTraversal()
    while (actor := actors.GetNextActor()) is not None:
        # Many files give full ambient light, which would bleach every face to white.
        actor.GetProperty().SetAmbient(0.15)
        actor.GetProperty().SetDiffuse(0.9)
        actor.GetProperty().SetSpecular(0.1)


def _look_from(renderer: Any, azimuth: float, elevation: float) -> None:
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, 0, 1)
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 1, 0)
    camera.Azimuth(azimuth)
    camera.Elevation(elevation)
    camera.OrthogonalizeViewUp()
    camera.SetViewAngle(28)
    renderer.ResetCamera()
    camera.Zoom(1.05)
    renderer.ResetCameraClippingRange()


def _save(vtk: Any, window: Any, target: Path) -> None:
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetInputConnection(grab.GetOutputPort())
    writer.SetFileName(str(target))
    writer.Write()


if __name__ == "__main__":
    main(sys.argv[1])
