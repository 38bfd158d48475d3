"""The miniature: a small synthetic world whose truth is known, and a Stable Diffusion trained on it."""
