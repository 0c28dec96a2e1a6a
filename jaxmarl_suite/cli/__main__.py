"""`python -m jaxmarl_suite.cli`."""

import sys

from jaxmarl_suite.cli import main

sys.exit(main())
