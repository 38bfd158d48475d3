"""LiVO's value retriever: which value statement, if any, a prompt calls for. Needs no torch unless a backend does."""
