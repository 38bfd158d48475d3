"""Tests compute on the CPU, where figures are exact and two processes need no two GPUs."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # set it to test on a GPU
