"""The network that is trained: backbone, bottleneck and head, and which of its layers learn."""
