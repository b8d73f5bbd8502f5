if __name__ != "kitefeed.services":
    raise ImportError("this package is imported as kitefeed.services")
