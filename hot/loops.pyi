"""The extension, see hot/module.c. What it is given may have any content, and raises nothing but
TypeError for what is of another type than here, and MemoryError."""

REVISION: int

def repack(frame: bytes, /) -> tuple[list[int], list[bytes], str | None, int]:
    """Tokens and bodies of every readable packet, the name of the first damage and its offset."""
