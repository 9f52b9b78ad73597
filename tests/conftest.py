"""One thread per worker: graphs are small, and workers would wait for each other's cores."""

import torch

torch.set_num_threads(1)
