"""Which member of a group each picture gets, e.g. man or woman: drawn from its own seed, or dealt out evenly."""

from collections.abc import Sequence

import torch

from diffusion_base.errors import UserError
from diffusion_base.intervention import Context
from diffusion_base.noising import per_sample_generator


class Drawing:
    """What the fair groups of all methods share.

    A record's "concepts", a list of names, decides where a member's is among them. Else the member is drawn from the
    picture's own seed, so that it is the same whatever is made beside it.

    Args:
        names: of the members.
        proportions: share of pictures for each member; None is equal shares.
        dealt: deal the members out in these proportions instead of drawing them: prompt by prompt, and each prompt's
            pictures in their order, so that the numbers are as even as they can be in all and for each prompt.

    Raises:
        UserError: no member; proportions that are not one a member and 1 in sum.
    """

    def __init__(self, names: Sequence[str], *, proportions: Sequence[float] | None = None, dealt: bool = False):
        if not names:
            raise UserError("a group needs members, e.g. man and woman")
        shares = [1 / len(names)] * len(names) if proportions is None else list(proportions)
        if len(shares) != len(names) or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-6:  # NaN is neither
            raise UserError(
                f"the proportions {', '.join(f'{share:g}' for share in shares)} must be {len(names)} numbers, one for "
                f"each of {', '.join(names)}, and sum to 1"
            )
        self.names, self.proportions, self.dealt = list(names), shares, dealt
        self.dealt_out: dict[tuple[str, int], int] = {}  # (prompt, seed) → number of the member

    def begin(self, context: Context) -> None:
        """Deal the members out over all pictures of a call; see `Intervention.begin`."""
        first = {prompt: i for i, prompt in enumerate(dict.fromkeys(context.prompts))}
        pictures = dict.fromkeys(zip(context.prompts, context.seeds, strict=True))
        in_order = sorted(pictures, key=lambda picture: first[picture[0]])
        self.dealt_out = dict(zip(in_order, deal(self.proportions, len(in_order)), strict=True))

    def member(self, prompt: str, seed: int, record: dict) -> int:
        """Which member a picture gets."""
        if named := [name for name in record.get("concepts", ()) if name in self.names]:
            return self.names.index(named[0])
        if self.dealt:
            return self.dealt_out[prompt, seed]
        # by the names, so that what two groups draw for one picture is independent
        generator = per_sample_generator(seed, 0, 0, f"fair group {', '.join(self.names)}")
        draw = torch.rand((), generator=generator).item()
        return sum(draw >= bound for bound in torch.tensor(self.proportions).cumsum(0).tolist()[:-1])

    def members(self, context: Context) -> list[int]:
        """Which member each picture of a batch gets."""
        pictures = zip(context.prompts, context.seeds, context.records, strict=True)
        return [self.member(*picture) for picture in pictures]

    def describe(self) -> dict:
        return {"proportions": self.proportions, "dealt": self.dealt}


def deal(proportions: Sequence[float], count: int) -> list[int]:
    """Members for pictures in a row: at every moment the number of each is as near its share as it can be."""
    given = [0] * len(proportions)
    dealt = []
    for number in range(1, count + 1):
        owed = [round(share * number - have, 9) for share, have in zip(proportions, given, strict=True)]
        dealt.append(owed.index(max(owed)))
        given[dealt[-1]] += 1
    return dealt
