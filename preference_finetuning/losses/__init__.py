"""The objectives, one a module: a pure function, and what it needs. `--objective NAME` names the module."""
