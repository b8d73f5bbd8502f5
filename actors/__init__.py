if __name__ != "kitefeed.actors":
    raise ImportError("this package is imported as kitefeed.actors")
