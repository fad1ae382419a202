"""What families of grounders share: devices, pictures in, boxes out, files of weights.

Nothing is imported here: listing models (`weights`, `quiet`) must not load torch.
"""
