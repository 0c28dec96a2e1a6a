"""What a library of behaviors, learned offline without rewards, saves online."""
