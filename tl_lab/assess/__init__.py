"""Should I transfer, from what, how, and can I trust the result: one module a part, each with a typed result."""
