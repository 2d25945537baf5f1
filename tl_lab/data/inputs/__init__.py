"""What a network is fed: how raw data of each modality become inputs."""
