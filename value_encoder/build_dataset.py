"""`preference_data/build.py` under the name it had at first."""

from diffusion_base.errors import run
from preference_data.build import main

if __name__ == "__main__":
    run(main)
