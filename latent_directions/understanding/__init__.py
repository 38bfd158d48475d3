"""Where a bias sits: what the text encoder ties to a concept, and what the pictures of it show."""
