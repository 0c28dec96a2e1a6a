"""GEM beside TD3 on cheap continuous tasks."""
