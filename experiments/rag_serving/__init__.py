"""Caching and serving on a RAG workload: what is learnt against classical rules."""
