// The table of prices. A row never looks live that is not: freshness is the server's word, and ends
// here as soon as the server is silent, whatever it said last.
import * as words from "./words.js";

const KEY = "kitefeed.watchlist";
const POINTS_MAX = 300, STEP_S = 5; // as the gateway: points 5 s apart, twice that when there are too many

export class Watchlist {
  constructor(body, empty, first, changed) {
    this.body = body;
    this.empty = empty;
    this.changed = changed; // called with the names when they change
    this.rows = new Map();
    this.names = [];
    for (const name of stored() ?? first) this.add(name, false);
    this.show();
  }

  add(name, isNews = true) {
    if (!name || this.rows.has(name)) return;
    this.names.push(name);
    this.rows.set(name, new Row(name, this));
    this.show(isNews);
  }

  remove(name) {
    const at = this.names.indexOf(name);
    this.names.splice(at, 1);
    this.rows.get(name).element.remove();
    this.rows.delete(name);
    this.show(true);
    const next = this.names[Math.min(at, this.names.length - 1)];
    (next ? this.rows.get(next).element.querySelector("button") : document.getElementById("name")).focus();
  }

  move(name, by) {
    const from = this.names.indexOf(name), to = from + by;
    if (to < 0 || to >= this.names.length) return;
    this.names.splice(to, 0, ...this.names.splice(from, 1));
    this.show(true);
    this.rows.get(name).element.querySelector(by < 0 ? ".raise" : ".lower").focus();
  }

  show(isNews) {
    for (const name of this.names) this.body.append(this.rows.get(name).element);
    this.empty.hidden = this.names.length > 0;
    this.body.parentElement.hidden = !this.empty.hidden;
    if (isNews) store(this.names);
    this.changed(this.names);
  }

  // When the newest value was received, by the server's clock; 0 while there is none.
  get newestMs() { return Math.max(0, ...[...this.rows.values()].map((row) => row.receivedMs)); }

  quotes(list) {
    for (const quote of list) this.rows.get(quote.instrument)?.take(quote);
  }

  history(courses) { for (const [name, points] of Object.entries(courses)) this.rows.get(name)?.recall(points); }

  refused(reasons) { for (const [name, reason] of Object.entries(reasons)) this.rows.get(name)?.refuse(reason); }

  // `trusted`: the server was heard just now, and so was the daemon.
  draw(trusted, isClosed, nowMs) {
    for (const row of this.rows.values()) row.draw(trusted, isClosed, nowMs);
  }
}

class Row {
  constructor(name, list) {
    this.name = name;
    this.quote = null;
    this.points = [];
    this.step = STEP_S;
    this.receivedMs = 0;
    const row = (this.element = document.createElement("tr"));
    row.dataset.fresh = "none";
    const colon = name.indexOf(":");
    row.innerHTML = `<td class="name"></td><td class="number price">–</td><td class="number change">–</td>
      <td class="line"><svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label=""><polyline points=""/></svg></td>
      <td class="from"><span class="mark calm">waiting</span></td><td class="number age">–</td>
      <td class="tools"><button type="button" class="raise">↑</button><button type="button" class="lower">↓</button><button type="button" class="drop">✕</button></td>`;
    const cell = row.querySelector(".name");
    cell.textContent = name.slice(colon + 1);
    const exchange = document.createElement("small");
    exchange.textContent = name.slice(0, colon);
    cell.append(exchange);
    for (const [kind, label, act] of [
      ["raise", `Move ${name} up`, () => list.move(name, -1)],
      ["lower", `Move ${name} down`, () => list.move(name, 1)],
      ["drop", `Remove ${name}`, () => list.remove(name)],
    ]) {
      const button = row.querySelector(`.${kind}`);
      button.setAttribute("aria-label", label);
      button.onclick = act;
    }
    this.price = row.querySelector(".price");
    this.change = row.querySelector(".change");
    this.mark = row.querySelector(".mark");
    this.old = row.querySelector(".age");
    this.spark = row.querySelector(".spark");
  }

  take(quote) {
    this.quote = { ...quote, at: performance.now() };
    this.reason = "";
  }

  refuse(reason) {
    this.reason = reason;
  }

  recall(points) {
    this.points = points;
    this.step = points.reduce((least, [at], next) => Math.min(least, next ? at - points[next - 1][0] : Infinity), Infinity);
    this.step = Math.max(STEP_S, Number.isFinite(this.step) ? this.step : STEP_S);
    this.line();
  }

  note(nowMs) {
    const at = Math.floor(nowMs / 1000 / this.step) * this.step, last = this.points.at(-1);
    if (last && last[0] >= at) {
      last[1] = this.quote.last_price; // drawn with the next point: drawing is what a page costs
      return;
    }
    this.points.push([at, this.quote.last_price]);
    if (this.points.length > POINTS_MAX) {
      this.step *= 2;
      this.points = this.points.filter(([at], next) => this.points[next + 1] === undefined || Math.floor(at / this.step) !== Math.floor(this.points[next + 1][0] / this.step));
    }
    this.line();
  }

  line() {
    const values = this.points.map((point) => point[1]);
    const low = Math.min(...values), high = Math.max(...values), height = high - low || 1, first = this.points[0][0];
    const width = this.points.at(-1)[0] - first || 1;
    this.spark.firstElementChild.setAttribute("points", this.points.map(([at, value]) => `${(((at - first) / width) * 100).toFixed(1)},${(19 - ((value - low) / height) * 18).toFixed(1)}`).join(" "));
    const decimals = this.quote?.decimals ?? 2;
    this.spark.setAttribute("aria-label", `since ${words.minuteOf(first * 1000)}: from ${words.price(low, decimals)} to ${words.price(high, decimals)}`);
  }

  draw(trusted, isClosed, nowMs) {
    const quote = this.quote;
    if (!quote) {
      this.say(this.reason ? "bad" : "calm", this.reason ? "not streamed" : "waiting", this.reason);
      return;
    }
    const seconds = quote.age_s + (performance.now() - quote.at) / 1000;
    this.receivedMs = quote.receivedMs ??= nowMs - seconds * 1000;
    write(this.old, words.age(seconds));
    if (quote !== this.shown) this.show(quote);
    const fresh = trusted && quote.fresh;
    const kind = fresh ? "yes" : trusted && isClosed ? "closed" : "no";
    if (this.element.dataset.fresh !== kind) this.element.dataset.fresh = kind;
    if (fresh) this.say(quote.source === "rest" ? "rest" : "live", quote.source === "rest" ? "polled" : "live");
    else if (trusted && isClosed) this.say("calm", "last of session");
    else this.say("bad", "not live");
    if (fresh && quote !== this.noted) { this.noted = quote; this.note(nowMs); }
  }

  show(quote) {
    this.shown = quote;
    write(this.price, words.price(quote.last_price, quote.decimals));
    write(this.change, words.change(quote.change));
    const kind = `number change ${quote.change > 0 ? "up" : quote.change < 0 ? "down" : ""}`;
    if (this.change.className !== kind) this.change.className = kind;
  }

  say(tone, text, title = "") {
    write(this.mark, text);
    if (this.mark.className !== `mark ${tone}`) this.mark.className = `mark ${tone}`;
    if (this.mark.title !== title) this.mark.title = title;
  }
}

// Into the text that is there: a new node for each price is what a page would pay most for.
function write(element, text) {
  const node = element.firstChild;
  if (node.nodeValue !== text) node.nodeValue = text;
}

function stored() {
  try {
    const names = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(names) ? names.filter((name) => typeof name === "string") : null;
  } catch { return null; }
}

function store(names) {
  try { localStorage.setItem(KEY, JSON.stringify(names)); } catch { /* private windows have none */ }
}
