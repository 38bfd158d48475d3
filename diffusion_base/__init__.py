"""The shared Stable Diffusion base: one image, four doors. It knows no alignment method."""
