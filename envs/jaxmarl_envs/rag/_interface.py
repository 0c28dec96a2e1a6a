"""What actions and observations of both tasks mean, for the tasks themselves and for rules that play them."""

BYPASS, EVICT_LRU, EVICT_LFU, EVICT_LFU_DA, EVICT_SHARED = range(5)
"""Actions of the caching task."""
EXPERTS = 4
"""Of its actions, those that agents with whole caches have."""
POOL = 8
"""Waiting requests that are seen and can be claimed in the serving task, oldest first."""
OWN, ENTRY, TEAM = 5, 9, 8
"""Entries of its observation: of the agent itself, of each waiting request, of the team."""
