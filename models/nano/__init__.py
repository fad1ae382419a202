"""glip-nano, the small grounder that ships: a frozen COCO-trained backbone, a text encoder of its own, and an
open branch that names what the 80 classes do not. `grounder.NanoGrounder` joins them; `training/nano` in the
repository makes the weights.
"""
