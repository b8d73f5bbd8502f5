"""Where `kitefeed` begins. It imports nothing at first, so that Ctrl-C is quiet from the start:
what the commands need takes a fifth of a second to import."""

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def main() -> int:
    """Runs the command that was typed, and returns its exit code."""
    try:
        from kitefeed.cli.main import main

        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
