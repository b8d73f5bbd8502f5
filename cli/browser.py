"""The user's web browser."""

import threading
import webbrowser

# These would take the terminal over, and Kite's page needs more than they can.
_IN_THE_TERMINAL = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})


def show(url: str) -> None:
    """Opens `url` in it; nothing happens where there is none. Returns at once: some browsers are
    waited for by what starts them."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if getattr(browser, "name", "") not in _IN_THE_TERMINAL:
        threading.Thread(target=browser.open, args=(url,), daemon=True).start()
