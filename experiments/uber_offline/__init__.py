"""Datasets of tiers, offline learners on them, and the diversity of libraries."""
