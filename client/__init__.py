if __name__ != "kitefeed.client":
    raise ImportError("this package is imported as kitefeed.client")
