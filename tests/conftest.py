"""One thread per worker: the graphs are small, and workers that share cores would wait for each other."""

import torch

torch.set_num_threads(1)
