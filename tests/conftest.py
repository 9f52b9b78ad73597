"""One thread per worker: graphs are small, and workers on shared cores would wait for each other."""

import torch

torch.set_num_threads(1)
