"""Boxes become tracks, and tracks answer to phrases: `association.PhraseTracker` over its two halves.

`tracker` knows of places and times only, `phrases` of scores only; so ids survive a change of the query.
"""
