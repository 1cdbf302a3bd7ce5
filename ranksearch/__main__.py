"""``python -m ranksearch``."""

from ranksearch.cli import main

if __name__ == "__main__":
    main()
