"""Preference fine-tuning: the denoiser's weights, or a LoRA on them, learned from what people like and dislike."""
