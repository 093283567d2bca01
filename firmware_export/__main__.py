"""``python -m firmware_export FILE --out DIR``: the same as ``neuroctl export``."""

import sys

from neuroctl.__main__ import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]], prog_name="python -m firmware_export")
