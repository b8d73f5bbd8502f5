from kitefeed.actors.policy.names import did_you_mean, nearest

KNOWN = ["NSE:INFY", "NSE:RELIANCE", "BSE:RELIANCE", "NFO:NIFTY26NOVFUT"]


def test_the_nearest_come_first_whatever_the_case() -> None:
    assert nearest("NSE:RELIANC", KNOWN) == ["NSE:RELIANCE", "BSE:RELIANCE"]
    assert nearest("nse:infy", KNOWN) == ["NSE:INFY"]
    assert nearest("NSE:INFY", []) == []
    assert nearest("MCX:GOLD", KNOWN) == []


def test_the_sentence_names_all_of_them() -> None:
    assert did_you_mean([]) == ""
    assert did_you_mean(["A"]) == "did you mean A?"
    assert did_you_mean(["A", "B"]) == "did you mean A or B?"
    assert did_you_mean(["A", "B", "C"]) == "did you mean A, B or C?"
