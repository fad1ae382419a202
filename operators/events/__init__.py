"""What happens in a stream: zones, lines and counts (`rules`), and the engine that makes events of tracks.

`engine.RuleEngine` takes one result after another; `track` knows one track, `latch` the small states in it,
`messages` makes an event's messages. `rules`, `zones` and `engine` need numpy and are imported by themselves.
"""

from groundstream.operators.events.event import Event, EventKind, EventType, Sighting

__all__ = ["Event", "EventKind", "EventType", "Sighting"]
