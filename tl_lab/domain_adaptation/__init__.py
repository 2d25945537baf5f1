"""Domain-adaptation methods: one file each; ``base`` defines the contract."""
