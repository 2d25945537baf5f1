"""What all tests run under."""

import torch

# as a run has by default; on tensors this small, threads that wait for each other cost more than they bring, and on a
# machine that is busy otherwise a hundred times more
torch.set_num_threads(1)
