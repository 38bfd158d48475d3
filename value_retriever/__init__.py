"""LiVO's value retriever: which value statement, if any, a prompt calls for. Needs no torch unless a backend does."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from value_retriever.answer import RetrievedValue
    from value_retriever.retriever import ValueRetriever

__getattr__, __dir__ = lazy(
    __name__, {"value_retriever.answer": ("RetrievedValue",), "value_retriever.retriever": ("ValueRetriever",)}
)
