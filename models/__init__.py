"""What computes: grounders, the temporal adapter, training. Torch only; no streams, no files of users."""
