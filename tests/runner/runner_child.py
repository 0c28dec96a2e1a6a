"""One run in a process of its own: `python runner_child.py train|resume ALGORITHM FOLDER`.

Devices, flags and the disk cache come with the environment of the tests.
"""

import sys

import jax
from runner_tools import Recorder, long
from runner_toy import registered

from jaxmarl_suite.runner import Interrupted, configure, resume, run


def main() -> None:
    """Prints what the listener is told, and how to go on after an interrupt."""
    command, name, folder = sys.argv[1:]
    listener = Recorder()
    try:
        configure()
        jax.config.update("jax_disable_most_optimizations", True)  # quick to compile
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # also a toy's program is kept
        with registered():
            if command == "train":
                run(long(name), run_dir=folder, listener=listener)
            else:
                resume(folder, listener=listener)
    except Interrupted as error:
        print(error)
        sys.exit(130)
    finally:
        print("\n".join(listener.said))


if __name__ == "__main__":
    main()
