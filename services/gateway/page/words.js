// Numbers, times and the state of the feed in words.
import { HEART_OLD_S } from "./connection.js";

const zone = "Asia/Kolkata";
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const short = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, weekday: "short", hour: "2-digit", minute: "2-digit" });
const prices = {}, HALF_DAY_MS = 43_200_000;

export const timeOf = (ms) => clock.format(ms);
export const minuteOf = (ms) => short.format(ms);
export const dayOf = (ms) => day.format(ms).replace(",", "");

// In Indian grouping: 1,23,456.70
export function price(value, decimals) {
  prices[decimals] ??= new Intl.NumberFormat("en-IN", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return prices[decimals].format(value);
}

export function change(percent) {
  if (percent === null) return "–";
  const sign = percent > 0 ? "▲ +" : percent < 0 ? "▼ −" : "";
  return `${sign}${Math.abs(percent).toFixed(2)} %`;
}

export function span(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.round((seconds % 3600) / 60)).padStart(2, "0")}`;
}

// Whole seconds: a tenth is nobody's, and each change of fifty rows costs.
export const age = (seconds) => (seconds < 10 ? `${Math.round(Math.max(0, seconds))} s` : span(seconds));

// Without the commands for a terminal that a reason ends with: the page has buttons.
export const forPeople = (text) => text.replace(/[:;,]? ?`.*$/, "");

// What the badge says. `health`: the server's; `age`: how long ago it was said, in seconds.
export function verdict(health, { silent, nextOpen, lastFreshMs, nowMs, heartbeatAge }) {
  if (silent) return { tone: "bad", word: "LOST", reason: "This page hears nothing from kitefeed: no price here can be trusted.", next: "It connects again by itself." };
  if (health.feed === "lost" || heartbeatAge === null || heartbeatAge > HEART_OLD_S) {
    return { tone: "bad", word: "LOST", reason: "The daemon is silent: no price here can be trusted.", next: "Start it with `kitefeed up`; this page waits." };
  }
  const retry = health.retry_in_s === null ? "" : `Next attempt in ${span(health.retry_in_s)}.`;
  const known = lastFreshMs ? `, ${(nowMs - lastFreshMs > HALF_DAY_MS ? dayOf : minuteOf)(lastFreshMs)}` : "";
  switch (health.feed) {
    case "live": return { tone: health.is_healthy ? "live" : "rest", word: health.is_healthy ? "LIVE" : "DOUBTFUL", reason: health.is_healthy ? "Prices stream from Kite." : `Kite's stream is being checked: ${health.reason}.`, next: health.session === "refused" ? "Kite refuses the session by now: log in before the next reconnect." : health.user_id ? `Logged in as ${health.user_id}.` : "" };
    case "rest": {
      const [, every, why] = /polled every ([\d.]+ s): (.*)/.exec(health.reason) ?? [, "", health.reason];
      return { tone: "rest", word: every ? `REST, every ${every}` : "REST, polled", reason: `Prices are asked for by turns, as there is no stream: ${forPeople(why)}.`, next: retry };
    }
    case "login_required": return { tone: "bad", word: "LOGIN NEEDED", reason: `${sentence(health.reason)} ${{ rest: "A second session polls prices meanwhile.", cache: "Prices below are the last known." }[health.source] ?? ""}`, next: `Log in, and prices are live within seconds. ${retry}` };
    case "closed": return { tone: "calm", word: nextOpen ? `CLOSED until ${dayOf(nextOpen)}` : "CLOSED", reason: "The market is closed. Prices are the last of the session.", next: ["absent", "refused"].includes(health.session) ? "Log in before it opens: best after 07:30, as Kite may end sessions until then." : "" };
    case "paused": return { tone: "calm", word: "PAUSED", reason: "Somebody paused kitefeed: Kite is asked for nothing.", next: "“Go on” resumes it." };
    case "no_entitlement": return { tone: "bad", word: "NO MARKET DATA", reason: "The app's plan has no market data. See developers.kite.trade.", next: retry };
    case "misconfigured": return { tone: "bad", word: "MISCONFIGURED", reason: sentence(health.reason), next: "It goes on by itself once the file is repaired." };
    default: return { tone: "bad", word: `LAST KNOWN${known}`, reason: `No fresh prices: ${forPeople(health.reason)}.`, next: retry || "kitefeed goes on trying." };
  }
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${forPeople(text.slice(1))}.` : "");
