"""How a pipeline does: its health as values, as Prometheus metrics, and its log.

Nothing is re-exported: the command line needs `logs` before it has loaded anything heavy.
"""
