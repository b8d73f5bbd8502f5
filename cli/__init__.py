if __name__ != "kitefeed.cli":
    raise ImportError("this package is imported as kitefeed.cli")
