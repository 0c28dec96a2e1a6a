"""Sample efficiency of MAZero on hallway and in a small fight."""
