if __name__ != "kitefeed.simulator":
    raise ImportError("this package is imported as kitefeed.simulator")
