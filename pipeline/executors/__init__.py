"""Where streams and detectors run: in this process (`local`), or as processes of a Ray cluster (`ray`).

Only the `ray*` modules import Ray, and they are shells around classes that know nothing of it. Nothing is
re-exported: `pipeline.make_executor` imports the one that is asked for.
"""
