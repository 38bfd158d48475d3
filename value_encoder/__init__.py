"""LiVO's value encoder: one extra token, learned from pairs of pictures, carries a value into the prompt."""
