"""Protocols: LiVO's, WinoBias, I2P, image quality, preference."""
