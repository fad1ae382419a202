"""glip-nano: the small grounder that ships: a frozen COCO-trained backbone, a text encoder of its own."""
