"""Outside folders of choices, where Hydra looks for them."""
