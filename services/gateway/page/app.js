import { Connection } from "./connection.js";
import { Watchlist } from "./watchlist.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
const given = JSON.parse($("given").textContent);
const EVENTS_SHOWN = 100, SEEN_MAX = 1000, TOASTS_MAX = 3, TOAST_MS = 12000, STATUS_MS = 2000, LOOK_MS = 250, REDRAW_MS = 1200, GATHER_MS = 40;

let health = given.health, healthAt = performance.now();
let report = null, lastFreshMs = 0, knowsEvents = false, drawn = { at: -Infinity }, gathering = 0;
const seen = new Set(); // events; a gateway that was restarted numbers its own from 1 again
const hasSecret = given.has_secret;
const connection = new Connection(heard);
const list = new Watchlist($("rows"), $("empty"), given.instruments, (names) => connection.want(names));
$("version").textContent = given.version;
for (const place of document.querySelectorAll(".redirect")) place.textContent = given.redirect_url;

function heard(message) {
  switch (message.type) {
    case "feed": health = message.health; healthAt = performance.now(); break;
    case "quotes": list.quotes(message.quotes); break;
    case "history": list.history(message.history); break;
    case "events": message.events.forEach((event) => happened(event, knowsEvents)); knowsEvents = true; break;
    case "refused": list.refused(message.refused); if (message.refused[""]) problem(message.refused[""]); break;
  }
  gathering ||= setTimeout(draw, GATHER_MS);
}

// --- the truth --------------------------------------------------------------------------------

// What the server says is noted, and drawn at once for all that came together: a frame of fifty rows
// is what a page costs. That nothing comes any more is looked for four times a second.
function look() {
  connection.look();
  if (connection.isTrusted !== drawn.trusted || performance.now() - drawn.at > REDRAW_MS) draw();
}

function draw() {
  clearTimeout(gathering);
  gathering = 0;
  drawn = { at: performance.now(), trusted: connection.isTrusted };
  const silent = connection.isSilent, nowMs = connection.nowMs;
  const gone = (performance.now() - healthAt) / 1000;
  const shown = { ...health, retry_in_s: health.retry_in_s === null ? null : Math.max(0, health.retry_in_s - gone) };
  const told = words.verdict(shown, {
    silent,
    nextOpen: report?.next_open ? Date.parse(report.next_open) : 0,
    lastFreshMs: lastFreshMs || list.newestMs,
    nowMs,
    heartbeatAge: connection.heartbeatAgeS,
  });
  const lost = told.word === "LOST";
  if (!lost && health.is_healthy) lastFreshMs = nowMs;
  $("state").dataset.tone = told.tone;
  set("word", told.word);
  set("reason", told.reason);
  set("next", told.next);
  const isFirst = !lost && (!given.has_api_key || health.session === "absent");
  $("first").hidden = !isFirst;
  $("login").hidden = lost || isFirst || !["absent", "refused"].includes(health.session);
  set("pause", health.feed === "paused" ? "Go on" : "Pause");
  set("clock", silent ? "--:--:--" : words.timeOf(nowMs));
  document.title = `${told.word} · kitefeed`;
  list.draw(!lost, health.feed === "closed", nowMs);
  if (report) drawReport(report);
}

$("step-app").classList.toggle("done", given.has_api_key);
$("step-key").classList.toggle("done", given.has_api_key);
$("first-login").disabled = !given.has_api_key;
$("copy").onclick = async () => {
  await navigator.clipboard.writeText(given.redirect_url);
  set("copy", "Copied");
};

function set(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

setInterval(look, LOOK_MS);
document.addEventListener("visibilitychange", draw);

// --- what happened ----------------------------------------------------------------------------

function happened(event, isNews) {
  const key = `${event.number} ${event.at_utc_s}`;
  if (seen.has(key)) return;
  if (!seen.size) $("events").replaceChildren();
  seen.add(key);
  if (seen.size > SEEN_MAX) seen.delete(seen.values().next().value);
  const lasted = event.lasted_s === null ? "" : ` (after ${words.span(event.lasted_s)})`;
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = new Date(event.at_utc_s * 1000).toISOString();
  time.textContent = words.timeOf(event.at_utc_s * 1000);
  const text = `${words.forPeople(event.text)}${lasted}`;
  item.append(time, document.createTextNode(text));
  $("events").prepend(item);
  while ($("events").children.length > EVENTS_SHOWN) $("events").lastChild.remove();
  if (isNews) toast(text);
}

function toast(text) {
  const box = document.createElement("div");
  box.className = "toast";
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "✕";
  close.setAttribute("aria-label", "Close this message");
  close.onclick = () => box.remove();
  box.append(words, close);
  $("toasts").append(box);
  while ($("toasts").children.length > TOASTS_MAX) $("toasts").firstChild.remove();
  setTimeout(() => box.remove(), TOAST_MS);
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// --- programs and processes -------------------------------------------------------------------

async function status() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/api/status");
    if (!answer.ok) return;
    report = await answer.json();
  } catch { /* the badge tells */ }
}

function drawReport(report) {
  $("source").value = ["websocket", "rest"].includes(report.override) ? report.override : "auto";
  const programs = report.readers.filter((reader) => reader.name !== "gateway"); // that is this page
  fill("readers", programs.map((reader) => [reader.name, reader.ticks_per_s.toFixed(0), words.span(reader.lag_ms / 1000), String(reader.gaps + reader.skipped + reader.overrun)]), "No program has reported itself.");
  replace("actors", report.actors.map((actor) => [actor.role.replaceAll("_", " "), actor.state]), ([role, state]) => {
    const item = document.createElement("li");
    item.className = `mark ${state === "up" ? "live" : "bad"}`;
    item.textContent = `${role}: ${state}`;
    return item;
  });
  const outage = report.last_outage;
  set("outage", outage?.restored_utc_s ? `Last outage: ${outage.condition.replaceAll("_", " ")} at ${words.timeOf(outage.detected_utc_s * 1000)}, ${words.span(outage.restored_utc_s - outage.detected_utc_s)} long${outage.login_utc_s ? `; live ${words.span(outage.restored_utc_s - outage.login_utc_s)} after the login` : ""}.` : "");
}

function fill(id, rows, none) {
  replace(id, rows.length ? rows : [[none]], (cells) => {
    const row = document.createElement("tr");
    cells.forEach((text, at) => {
      const cell = document.createElement("td");
      if (at) cell.className = "number";
      if (!rows.length) cell.colSpan = 4, cell.className = "quiet";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  });
}

const shown = {};

// The children of an element, made anew only when what they show has changed.
function replace(id, items, make) {
  const now = JSON.stringify(items);
  if (shown[id] === now) return;
  shown[id] = now;
  $(id).replaceChildren(...items.map(make));
}

setInterval(status, STATUS_MS);
status();

// --- buttons ----------------------------------------------------------------------------------

async function post(path, body, isFirst = true) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Kitefeed-Page": given.page_token }, body: JSON.stringify(body) });
  const text = await answer.text();
  if (answer.status === 403 && isFirst) { // the gateway was restarted since, and gives another token to its page
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    given.page_token = JSON.parse(page.getElementById("given").textContent).page_token;
    return post(path, body, false);
  }
  if (!answer.ok) throw new Error(text.trim());
  return text;
}

async function act(path, body) {
  try {
    problem("");
    await post(path, body);
    status();
  } catch (error) { problem(error.message); }
}

function confirmed(question, consequence) {
  $("question").textContent = question;
  $("consequence").textContent = consequence;
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

$("retry").onclick = () => act("/api/retry", {});
$("pause").onclick = async () => {
  if (health.feed === "paused") return act("/api/source", { source: "auto" });
  if (await confirmed("Pause kitefeed?", "The socket to Kite is closed and nothing is polled. Every program keeps the last known values, which read as not fresh, until somebody presses “Go on”.")) act("/api/source", { source: "paused" });
};
$("source").onchange = async (event) => {
  const source = event.target.value;
  const effects = { auto: "kitefeed chooses again: the stream where it works, polling where it does not.", websocket: "Prices come by the stream alone. While Kite refuses it there are none.", rest: "The stream is closed, and prices are polled: a few seconds old at best." };
  if (await confirmed("Change the source of prices?", effects[source])) act("/api/source", { source });
  else status();
};

$("login").onclick = $("first-login").onclick = () => (hasSecret ? login({}) : askSecret());

async function login(body) {
  try {
    const { url } = JSON.parse(await post("/api/login", body));
    location.assign(url);
  } catch (error) {
    if (body.secret || hasSecret) problem(error.message);
    else askSecret();
  }
}

function askSecret() {
  if (!given.has_api_key) return problem("No app key is set: run `kitefeed init`, then start the daemon again.");
  const dialog = $("secret");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    const secret = $("secret-text").value.trim(), keep = $("secret-keep").checked;
    $("secret-text").value = "";
    if (dialog.returnValue === "yes" && secret) login({ secret, keep });
  }, { once: true });
}

if (location.hash === "#login") askSecret();
if (location.hash === "#logged-in") {
  toast("Logged in. Prices are live within seconds.");
  history.replaceState(null, "", "/");
}

// --- adding by typing -------------------------------------------------------------------------

const input = $("name"), found = $("found");
let choice = -1, asked = 0;

input.oninput = async () => {
  const number = ++asked, text = input.value.trim();
  const rows = text.length < 2 ? [] : await (await fetch(`/api/find?q=${encodeURIComponent(text)}`)).json().catch(() => []);
  if (number !== asked) return;
  choice = rows.length ? 0 : -1;
  found.replaceChildren(...rows.map((row, at) => {
    const item = document.createElement("li");
    item.id = `found-${at}`;
    item.role = "option";
    item.dataset.name = row.instrument;
    item.textContent = row.instrument;
    const more = document.createElement("small");
    more.textContent = [row.name, row.kind, row.expiry].filter(Boolean).join(" · ");
    item.append(more);
    item.onmousedown = (event) => { event.preventDefault(); choose(row.instrument); };
    return item;
  }));
  showFound();
};

function showFound() {
  found.hidden = found.children.length === 0;
  input.setAttribute("aria-expanded", String(!found.hidden));
  [...found.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === choice)));
  if (choice >= 0) input.setAttribute("aria-activedescendant", `found-${choice}`);
  else input.removeAttribute("aria-activedescendant");
  found.children[choice]?.scrollIntoView({ block: "nearest" });
}

function choose(name) {
  list.add(name);
  input.value = "";
  found.replaceChildren();
  choice = -1;
  showFound();
}

input.onkeydown = (event) => {
  const count = found.children.length;
  if (event.key === "ArrowDown" && count) choice = (choice + 1) % count;
  else if (event.key === "ArrowUp" && count) choice = (choice + count - 1) % count;
  else if (event.key === "Escape") { found.replaceChildren(); choice = -1; }
  else return;
  event.preventDefault();
  showFound();
};
input.onblur = () => { found.hidden = true; };
$("add").onsubmit = (event) => {
  event.preventDefault();
  const typed = input.value.trim().toUpperCase();
  const name = found.children[choice]?.dataset.name ?? (typed.includes(":") ? typed : "");
  if (name) choose(name);
};

draw();
