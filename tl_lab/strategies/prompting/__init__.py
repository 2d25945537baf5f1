"""Prompts to a language model: no weights change."""
