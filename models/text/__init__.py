"""Text before any model sees it: `noun_phrases` finds in a sentence what is to be looked for. No torch."""
