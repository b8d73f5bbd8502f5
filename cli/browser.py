"""The user's web browser."""

import threading
import webbrowser

# These would take the terminal over, and Kite's page needs more than they can.
_IN_THE_TERMINAL = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})


def show(url: str) -> None:
    """Open `url` in the browser; nothing happens where there is none. Returns at once: some
    browsers hold up the program that starts them."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if getattr(browser, "name", "") not in _IN_THE_TERMINAL:
        threading.Thread(target=browser.open, args=(url,), daemon=True).start()
