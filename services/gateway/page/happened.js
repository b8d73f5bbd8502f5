// What happened today: a list, and a toast for each thing as it comes.
import { $, make } from "./dom.js";
import * as words from "./words.js";

const SHOWN_MAX = 100, SEEN_MAX = 1000, TOASTS_MAX = 3, TOAST_MS = 12000;
const TONES = { live: "live", login: "live", rest: "rest", closed: "calm", paused: "calm" };
const CONDITIONS = { stale: "no fresh prices", login_required: "login needed", no_entitlement: "no market data", rest: "polled prices" };
const seen = new Set(); // a gateway that was restarted numbers its own from 1 again

// `isNews`: not what was known already when the page came.
export function happened(event, nowMs, isNews) {
  const key = `${event.number} ${event.at_utc_s}`;
  if (seen.has(key)) return;
  if (!seen.size) $("events").replaceChildren();
  seen.add(key);
  if (seen.size > SEEN_MAX) seen.delete(seen.values().next().value);
  const atMs = event.at_utc_s * 1000, tone = TONES[event.feed] ?? "bad", why = reason(event);
  const time = make("time", "", (words.isSameDay(atMs, nowMs) ? words.timeOf : words.dayOf)(atMs));
  time.dateTime = new Date(atMs).toISOString();
  const item = make("li", "", time, sign(), make("p", "", make("b", "", event.text), why && ` ${why}`));
  item.dataset.tone = tone;
  $("events").prepend(item);
  while ($("events").children.length > SHOWN_MAX) $("events").lastChild.remove();
  if (isNews && event.feed !== "login" && $("first").hidden) toast(event.text, why, tone); // what a login leads to is news enough
}

function reason(event) {
  if (event.lasted_s == null) return words.sentence(event.reason ?? "");
  const login = event.login_s == null ? "" : event.login_s < 2 ? ", at once after the login" : `, ${words.span(event.login_s)} after the login`;
  return `After ${words.span(event.lasted_s)} of trouble${login}.`;
}

function sign() {
  const element = make("span", "sign");
  element.setAttribute("aria-hidden", "true");
  return element;
}

export function toast(title, text = "", tone = "calm") {
  const close = make("button", "", "✕");
  close.type = "button";
  close.setAttribute("aria-label", "Close this message");
  const box = make("div", "toast", sign(), make("p", "", make("b", "", title), text && ` ${text}`), close);
  box.dataset.tone = tone;
  close.onclick = () => box.remove();
  $("toasts").append(box);
  box.timer = setTimeout(() => box.remove(), TOAST_MS);
  while ($("toasts").children.length > TOASTS_MAX) {
    clearTimeout($("toasts").firstElementChild.timer); // which would hold what is gone
    $("toasts").firstElementChild.remove();
  }
}

// The last outage as the daemon remembers it, from its detection by its login to its end.
export function outage(found) {
  if (!found) return "";
  const at = (utcS) => words.timeOf(utcS * 1000), condition = CONDITIONS[found.condition] ?? found.condition;
  const login = found.login_utc_s ? `, login ${at(found.login_utc_s)}` : "";
  if (!found.restored_utc_s) return `Outage (${condition}): detected ${at(found.detected_utc_s)}${login}, not over yet.`;
  const after = found.login_utc_s ? `, ${words.span(found.restored_utc_s - found.login_utc_s)} after the login` : "";
  return `Last outage (${condition}): detected ${at(found.detected_utc_s)}${login}, restored ${at(found.restored_utc_s)}. It took ${words.span(found.restored_utc_s - found.detected_utc_s)}${after}.`;
}
