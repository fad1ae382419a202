"""YAML presets that ship with the package."""
