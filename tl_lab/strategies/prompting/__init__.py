"""Prompting of language models, without training."""
