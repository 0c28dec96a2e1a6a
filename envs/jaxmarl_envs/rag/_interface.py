"""Meaning of actions and observations in both tasks, for the tasks and for the rules."""

BYPASS, EVICT_LRU, EVICT_LFU, EVICT_LFU_DA, EVICT_SHARED = range(5)
"""Actions of the caching task."""
EXPERTS = 4
"""Number of candidates in the caching task's expert actions."""
POOL = 8
"""Number of waiting requests that are observed and can be claimed in the serving task, oldest first."""
OWN, ENTRY, TEAM = 5, 9, 8
"""Sizes in the serving task's observation: for the agent itself, for each waiting request, for the team."""
