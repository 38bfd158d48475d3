"""The training kit: one loop for every method. A method is a loss, a dataset and a `TrainingTask`."""
