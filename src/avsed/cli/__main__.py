"""``python -m avsed.cli``."""

from avsed.cli import main

if __name__ == "__main__":
    main()
