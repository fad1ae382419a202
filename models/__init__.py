"""What computes: grounders and the temporal adapter. Torch only; no streams, no files of users."""
