"""The trained network: backbone, bottleneck and head, and the choice of trainable layers."""
