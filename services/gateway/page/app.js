// The page: what the server says is noted, and drawn.
import { Connection, steadyMs } from "./connection.js";
import { $, given, make, post, problem, replace, write } from "./dom.js";
import { happened, outage, toast } from "./happened.js";
import * as login from "./login.js";
import { search } from "./search.js";
import { Watchlist } from "./watchlist.js";
import * as words from "./words.js";

const STATUS_MS = 2000, LOOK_MS = 250, REDRAW_MS = 1200, GATHER_MS = 40;

let health = given.health, healthAt = 0; // it came with the page
let report = null, lastFreshMs = 0, knowsEvents = false, lostMs = 0, gathering = 0;
let drawn = { at: -Infinity };
const connection = new Connection(heard);
const list = new Watchlist(given.instruments, (names) => connection.want(names));

function heard(message) {
  switch (message.type) {
    case "feed": health = message.health; healthAt = steadyMs(); break;
    case "quotes": list.quotes(message.quotes); break;
    case "history": list.history(message.history); break;
    case "events": message.events.forEach((event) => happened(event, connection.nowMs, knowsEvents)); knowsEvents = true; break;
    case "refused": list.refused(message.refused); if (message.refused[""]) problem(message.refused[""]); break;
  }
  gathering ||= setTimeout(draw, GATHER_MS);
}

// --- the truth --------------------------------------------------------------------------------

// What the server says is noted, and drawn at once for all that came together: a frame of fifty rows
// is what a page costs. That nothing comes any more is looked for four times a second.
function look() {
  connection.look();
  if (connection.isTrusted !== drawn.trusted || steadyMs() - drawn.at > REDRAW_MS) draw();
}

function draw() {
  clearTimeout(gathering);
  gathering = 0;
  drawn = { at: steadyMs(), trusted: connection.isTrusted };
  const silent = connection.isSilent, nowMs = connection.nowMs, hasKey = Boolean(given.api_key);
  const retry = health.retry_in_s === null ? null : Math.max(0, health.retry_in_s - (steadyMs() - healthAt) / 1000);
  const told = words.verdict({ ...health, retry_in_s: retry }, { silent, report, hasKey, lastFreshMs: lastFreshMs || list.newestMs, nowMs, heartbeatAge: connection.heartbeatAgeS });
  const lost = told.word === "LOST", isOut = !lost && ["absent", "refused"].includes(health.session);
  if (!lost && health.is_healthy) lastFreshMs = nowMs;
  drawBadge(told, silent, nowMs);
  const isFirst = isOut && (!hasKey || health.session === "absent");
  show("first", isFirst);
  show("login", isOut && !isFirst);
  show("buttons", !lost && !isFirst);
  show("retry", retry !== null || !["live", "rest", "closed", "paused"].includes(health.feed));
  write($("pause"), health.feed === "paused" ? "Go on" : "Pause");
  login.drawMissed(isOut);
  drawConnection(silent, nowMs);
  list.draw(!lost, health.feed === "closed", nowMs);
  drawFacts(lost, nowMs);
  if (report) drawReport(lost);
}

function show(id, isShown) {
  if ($(id).hidden === isShown) $(id).hidden = !isShown;
}

function drawBadge(told, silent, nowMs) {
  if ($("state").dataset.tone !== told.tone) {
    $("state").dataset.tone = told.tone;
    const tone = getComputedStyle($("state")).getPropertyValue("--tone");
    $("icon").href = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M8 0l7 6.5L8 16 1 6.5z" fill="${tone}"/></svg>`)}`;
  }
  write($("word"), told.word);
  write($("reason"), told.reason);
  write($("next"), told.next);
  write($("clock"), silent ? "--:--:--" : words.timeOf(nowMs));
  const title = `${told.word} · kitefeed`;
  if (document.title !== title) document.title = title;
}

// What only this page can know happened, too.
function drawConnection(silent, nowMs) {
  if (silent === Boolean(lostMs)) return;
  const lasted_s = silent ? null : (nowMs - lostMs) / 1000;
  happened({ number: "here", at_utc_s: nowMs / 1000, feed: silent ? "lost" : health.feed, text: silent ? "This page hears nothing from kitefeed" : "This page hears kitefeed again", lasted_s }, nowMs, true);
  lostMs = silent ? nowMs : 0;
}

function drawFacts(lost, nowMs) {
  const newest = list.newestMs, counts = report?.subscriptions;
  write($("newest"), newest ? `${words.age((nowMs - newest) / 1000)} ago` : "–");
  write($("streamed"), lost || !counts ? "–" : counts.confirmed < counts.wanted && health.feed === "live" ? `${words.count(counts.confirmed)} of ${words.count(counts.wanted)}` : words.count(counts.wanted));
  write($("session"), lost ? "–" : { absent: "none", refused: "refused" }[health.session] ?? health.user_id ?? "–");
  write($("market"), lost || !report ? "–" : words.market(report.market) || "–");
}

login.prepare(draw);
search(list);
write($("version"), given.version);
$("edit").onclick = () => {
  const isOn = $("prices").classList.toggle("edited");
  $("edit").setAttribute("aria-pressed", String(isOn));
  write($("edit"), isOn ? "Done" : "Edit");
};
setInterval(look, LOOK_MS);
document.addEventListener("visibilitychange", draw);

// --- programs and processes -------------------------------------------------------------------

async function status() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/api/status");
    if (answer.ok) report = await answer.json();
  } catch { /* the badge tells */ }
}

function drawReport(lost) {
  const source = ["websocket", "rest"].includes(report.override) ? report.override : "auto";
  if (!$("confirm").open && $("source").value !== source) $("source").value = source;
  const programs = lost ? [] : report.readers.filter((reader) => reader.name !== "gateway"); // that is this page
  replace($("readers"), programs.length ? programs.map(cellsOf) : [[lost ? "Not known." : "No program has reported itself."]], (cells) => {
    const row = make("tr");
    row.append(...cells.map((text, at) => make("td", at ? "number" : programs.length ? "program" : "quiet", text)));
    if (!programs.length) row.firstChild.colSpan = 4;
    else if (cells[3] !== "0") row.lastChild.classList.add("missed");
    return row;
  });
  replace($("actors"), report.actors.map((actor) => [actor.role.replaceAll("_", " "), lost ? "not known" : actor.state]), ([role, state]) =>
    make("li", `mark ${{ up: "live", "not known": "calm" }[state] ?? "bad"}`, `${role}: ${state}`));
  write($("outage"), outage(report.last_outage));
}

const cellsOf = (reader) => [reader.name, words.count(reader.ticks_per_s), words.span(reader.lag_ms / 1000), words.count(reader.gaps + reader.skipped + reader.overrun)];

setInterval(status, STATUS_MS);
status();

// --- actions ------------------------------------------------------------------------------------

async function act(path, body, done) {
  try {
    problem("");
    await post(path, body);
    if (done) toast(done); // of the others the feed itself tells
    status();
  } catch (error) { problem(words.forPeople(error.message)); }
}

function confirmed(question, consequence, verb) {
  write($("question"), question);
  write($("consequence"), consequence);
  write($("yes"), verb);
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

$("retry").onclick = async () => {
  if (await confirmed("Ask Kite now?", "kitefeed asks Kite at once instead of waiting: is the session good, and does the stream open? What comes meanwhile goes on. A refusal is waited out as before.", "Ask now")) act("/api/retry", {}, "Asking Kite now.");
};
$("pause").onclick = async () => {
  if (health.feed === "paused") return act("/api/source", { source: "auto" });
  if (await confirmed("Pause kitefeed?", "The socket to Kite is closed and nothing is polled. Every program keeps the last known values, which read as not fresh, until somebody presses “Go on”.", "Pause")) act("/api/source", { source: "paused" });
};
$("source").onchange = async (event) => {
  const source = event.target.value;
  const [question, effect, verb] = {
    auto: ["Let kitefeed choose the source?", "Prices stream where the stream works, and are polled where it does not.", "Let it choose"],
    websocket: ["Use the stream alone?", "While Kite refuses the stream, no program has a fresh price: nothing is polled in its place.", "Stream only"],
    rest: ["Poll prices only?", "The stream is closed. Prices are a few seconds old at best, for every program, until this is changed back.", "Poll only"],
  }[source];
  if (await confirmed(question, effect, verb)) act("/api/source", { source }, "The source is changed.");
  else status();
};

draw();
