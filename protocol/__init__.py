if __name__ != "kitefeed.protocol":
    raise ImportError("this package is imported as kitefeed.protocol")
