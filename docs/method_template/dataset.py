"""The data: an item a pair of pictures."""

import numpy as np

from diffusion_base.identity import json_hash
from diffusion_base.latents import LatentCache
from preference_data import Pair


class Pairs:
    def __init__(self, pairs: list[Pair], cache: LatentCache):
        self.pairs, self.cache = pairs, cache
        cache.encode(path for pair in pairs for path in (pair.preferred, pair.dispreferred))

    def __len__(self) -> int:
        return len(self.pairs)

    def fingerprint(self) -> str:
        contents = self.cache.contents
        return json_hash([[pair.prompt, contents[pair.preferred], contents[pair.dispreferred]] for pair in self.pairs])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        """A prompt, and the latents (C, h, w) of its two pictures."""
        pair = self.pairs[index]
        preferred, dispreferred = self.cache.load(pair.preferred, rng), self.cache.load(pair.dispreferred, rng)
        return {"prompt": pair.prompt, "preferred": preferred, "dispreferred": dispreferred}
