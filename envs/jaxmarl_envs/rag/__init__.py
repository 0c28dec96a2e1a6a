"""RAG serving: traces of a real workload, and cooperative caching and dispatch driven by them."""
