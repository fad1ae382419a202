"""Tables of pictures and words, and what fetches and packs the pictures: `python -m training.data.fetch`."""
