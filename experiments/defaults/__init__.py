"""Plain defaults beside uniform play."""
