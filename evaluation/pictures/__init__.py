"""Which pictures: prompt files, methods, sets made or given."""
