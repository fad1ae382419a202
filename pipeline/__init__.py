"""What decides: configuration, wiring, the per-stream loop, the command line."""
