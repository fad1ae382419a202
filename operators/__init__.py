"""What acts on one stream: sources, letterbox, text cache, tracking, phrases, sinks. No Ray."""
