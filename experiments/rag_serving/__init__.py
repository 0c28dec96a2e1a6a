"""Caching and serving on a RAG workload: what is learned against classical rules."""
