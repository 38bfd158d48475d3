"""What judges are asked about pictures, and their answers, kept."""
