"""What value factorization can represent, and what it then learns: exact tables first, networks after."""
