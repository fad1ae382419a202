"""glip-nano's weights: backbone (`convert`), words (`train_text`), colours (`train_colours`), open branch
(`train`, with its steps `objects`, `names`, `calibrate`), and its figures on generated scenes (`evaluate`).
"""
