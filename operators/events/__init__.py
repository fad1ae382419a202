"""What happens in a stream: rules as values, and the engine that makes events of tracks.

`rules` are zones, lines and counts; `engine.RuleEngine` takes one result after another, `track` knows one
track; `event` is what comes of it. `track` and `engine` need numpy and are imported by themselves.
"""

from groundstream.operators.events.event import Event, EventKind, EventType, Sighting

__all__ = ["Event", "EventKind", "EventType", "Sighting"]
