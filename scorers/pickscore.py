"""PickScore: CLIP ViT-H/14 tuned on the choices of Pick-a-Pic's users.

Source: Kirstain et al., "Pick-a-Pic: An Open Dataset of User Preferences for Text-to-Image Generation" (2023).
"""

from scorers.similarity import SimilarityScorer, clip_folder, clip_scorer


def load(
    *,
    model: str = "yuvalkirstain/PickScore_v1",
    tokenizer: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    device: str = "cpu",
    batch_size: int = 64,
) -> SimilarityScorer:
    """`scorers:pickscore?model=FOLDER_OR_HUB_ID`; scores are the model's own logits, cosines times about 100.

    Args:
        model: its weights, a folder or a hub id.
        tokenizer: CLIP's, a folder or a hub id.
        device: where it runs.
        batch_size: pictures at a time.

    Raises:
        UserError: there is no such model or tokenizer.
    """
    network = clip_folder(model)
    clip = clip_scorer(network, tokenizer, "pickscore", device, batch_size)
    return SimilarityScorer(clip, scale=float(network.logit_scale.exp()))
