"""The temporal adapter that ships: its cast of pictures, generated clips, and the recipe (`train`)."""
