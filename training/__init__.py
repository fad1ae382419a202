"""How the models are trained: data, losses, recipes, evaluation; nothing here is needed to run them."""
