// Numbers, times and the state of the feed in words.
import { HEART_OLD_S } from "./connection.js";

const zone = "Asia/Kolkata";
const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
const minute = { hour: "2-digit", minute: "2-digit" };
const clock = format({ ...minute, second: "2-digit" }), short = format(minute), day = format({ weekday: "short", ...minute }), date = format({ dateStyle: "short" });
const prices = {}, HALF_DAY_MS = 43_200_000;

export const timeOf = (ms) => clock.format(ms);
export const minuteOf = (ms) => short.format(ms);
export const dayOf = (ms) => day.format(ms).replace(",", "");
export const isSameDay = (ms, other) => date.format(ms) === date.format(other);

// In Indian grouping: 1,23,456.70
export function price(value, decimals) {
  prices[decimals] ??= new Intl.NumberFormat("en-IN", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return prices[decimals].format(value);
}

export const count = (value) => price(value, 0);

// 1 up, -1 down, 0 where two decimals show neither.
export const direction = (percent) => Math.sign(Math.round((percent ?? 0) * 100));

export function change(percent) {
  if (percent === null) return "–";
  return `${["▼ −", "", "▲ +"][direction(percent) + 1]}${Math.abs(percent).toFixed(2)} %`;
}

export function span(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${String(minutes % 60).padStart(2, "0")}` : `${Math.round(hours / 24)} days`;
}

// Whole seconds: a tenth is nobody's, and each change of fifty rows costs.
export const age = (seconds) => (seconds < 10 ? `${Math.round(Math.max(0, seconds))} s` : span(seconds));

// Without the commands for a terminal that a reason ends with: the page has buttons.
export const forPeople = (text) => text.replace(/[:;,]? ?`.*$/, "");

export function sentence(text) {
  const said = forPeople(text);
  if (!said) return "";
  return `${/^\S*[./]/.test(said) ? said[0] : said[0].toUpperCase()}${said.slice(1)}.`; // a setting, a path: as it is
}

// `market`: segment to phase. One word where all say the same.
export function market(phases) {
  const by = {};
  for (const [segment, phase] of Object.entries(phases)) (by[phase.replace("_match", "").replace("_", " ")] ??= []).push(segment);
  const all = Object.entries(by);
  return all.length === 1 ? all[0][0] : all.map(([phase, segments]) => `${segments.join(", ")} ${phase}`).join("; ");
}

// What the badge says. `health`: the server's; `report`: the supervisor's, null until it is known;
// `silent`: the server is not heard; `heartbeatAge`: the daemon's, in seconds.
export function verdict(health, { silent, report, hasKey, lastFreshMs, nowMs, heartbeatAge }) {
  const told = (tone, word, reason, next = "") => ({ tone, word, reason, next });
  if (silent) return told("bad", "LOST", "This page hears nothing from kitefeed: no price here can be trusted.", "It connects again by itself.");
  if (health.feed === "lost" || heartbeatAge === null || heartbeatAge > HEART_OLD_S) return told("bad", "LOST", "The daemon is silent: no price here can be trusted.", "If it has ended, “kitefeed up” starts it again; this page waits.");
  const again = health.retry_in_s === null ? "" : health.retry_in_s < 1 ? "Trying now." : `Next attempt in ${age(Math.ceil(health.retry_in_s))}.`;
  const isOut = ["absent", "refused"].includes(health.session);
  switch (health.feed) {
    case "live":
      if (!health.is_healthy) return told("rest", "DOUBTFUL", `Kite's stream is being checked: ${forPeople(health.reason)}.`, again);
      return told("live", "LIVE", "Prices stream from Kite.", health.session === "refused" ? "Kite refuses the session by now: log in before the next reconnect." : "");
    case "rest": {
      const [, every, why] = /polled every ([\d.]+ s): (.*)/.exec(health.reason) ?? [, "", health.reason];
      return told("rest", every ? `REST, every ${every}` : "REST, polled", `Prices are asked for by turns, as there is no stream: ${forPeople(why)}.`, again);
    }
    case "login_required": {
      if (!hasKey) return told("calm", "NOT SET UP", "kitefeed does not know your Kite app yet.", "Three steps below lead to live prices.");
      const meanwhile = { rest: " A second session polls prices meanwhile.", cache: " Prices below are the last known." }[health.source] ?? "";
      return told("bad", "LOGIN NEEDED", sentence(health.reason) + meanwhile, `Log in, and prices are live within seconds. ${again}`);
    }
    case "closed": {
      const opens = report?.next_open ? Date.parse(report.next_open) : 0, isSoon = opens > nowMs;
      const advice = isOut ? "Log in before it opens: best after 07:30, as Kite may end sessions until then." : isSoon ? `It opens in ${span((opens - nowMs) / 1000)}, and kitefeed is there by itself.` : "";
      return told("calm", isSoon ? `CLOSED until ${dayOf(opens)}` : "CLOSED", "The market is closed. Prices are the last of the session.", advice);
    }
    case "paused": return told("calm", "PAUSED", "Somebody paused kitefeed: Kite is asked for nothing, and no price is fresh.", "“Go on” ends it.");
    case "no_entitlement": return told("bad", "NO MARKET DATA", "The app's plan at Kite has no market data: change the plan on developers.kite.trade.", again);
    case "misconfigured": return told("bad", "MISCONFIGURED", sentence(health.reason), "It goes on by itself once the file is repaired.");
  }
  if (report?.subscriptions.wanted === 0 && health.session === "valid") return told("calm", "READY", "kitefeed is logged in, and nobody asks for a price yet.", "Add an instrument below.");
  const known = lastFreshMs ? `, ${(nowMs - lastFreshMs > HALF_DAY_MS ? dayOf : minuteOf)(lastFreshMs)}` : "";
  return told("bad", `LAST KNOWN${known}`, `No fresh prices: ${forPeople(health.reason)}.`, again || "kitefeed goes on trying.");
}
