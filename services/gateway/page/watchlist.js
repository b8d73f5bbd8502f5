// The table of prices. A row never looks live that is not: freshness is the server's word, and ends
// here as soon as the server is silent, whatever it said last.
import { steadyMs } from "./connection.js";
import { $, make, write } from "./dom.js";
import * as words from "./words.js";

const KEY = "kitefeed.watchlist";
const POINTS_MAX = 300, STEP_S = 5; // as the gateway: points 5 s apart, twice that when there are too many
const LONG = 15; // rows, from which on the list scrolls by itself

export class Watchlist {
  constructor(first, changed) {
    this.body = $("rows");
    this.changed = changed; // called with the names when they change
    this.rows = new Map();
    this.names = [];
    this.add(...(stored() ?? first));
    this.show();
  }

  has(name) { return this.rows.has(name); }

  add(...names) {
    for (const name of names) {
      if (!name || this.rows.has(name)) continue;
      this.names.push(name);
      this.rows.set(name, new Row(name, this));
    }
  }

  take(name) {
    this.add(name);
    this.show(true);
    this.rows.get(name).element.scrollIntoView({ block: "nearest" });
  }

  remove(name) {
    const at = this.names.indexOf(name);
    this.names.splice(at, 1);
    this.rows.get(name).element.remove();
    this.rows.delete(name);
    this.show(true);
    const next = this.names[Math.min(at, this.names.length - 1)];
    (next ? this.rows.get(next).element.querySelector(".drop") : $("name")).focus();
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
    const isEmpty = this.names.length === 0;
    $("empty").hidden = !isEmpty;
    $("edit").hidden = isEmpty;
    $("prices").hidden = isEmpty;
    $("prices").classList.toggle("long", this.names.length > LONG);
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
    const row = (this.element = make("tr"));
    row.dataset.fresh = "none";
    const colon = name.indexOf(":");
    row.innerHTML = `<th scope="row" class="name"><span></span> <small></small><p class="why" hidden></p></th><td class="number price">–</td><td class="number change">–</td>
      <td class="line"><svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label="no course yet"><polyline points=""/></svg></td>
      <td class="from"><span class="mark calm">waiting</span></td><td class="number age">–</td>
      <td class="tools"><button type="button" class="raise">↑</button><button type="button" class="lower">↓</button><button type="button" class="drop">✕</button></td>`;
    row.querySelector(".name span").textContent = name.slice(colon + 1);
    row.querySelector(".name small").textContent = name.slice(0, Math.max(0, colon));
    for (const [kind, label, act] of [
      ["raise", `Move ${name} up`, () => list.move(name, -1)],
      ["lower", `Move ${name} down`, () => list.move(name, 1)],
      ["drop", `Remove ${name}`, () => list.remove(name)],
    ]) {
      const button = row.querySelector(`.${kind}`);
      button.setAttribute("aria-label", label);
      button.onclick = act;
    }
    for (const kind of ["why", "price", "change", "mark", "age", "spark"]) this[`${kind}Cell`] = row.querySelector(`.${kind}`);
  }

  take(quote) {
    this.quote = { ...quote, at: steadyMs() };
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
    const low = Math.min(...values), high = Math.max(...values), first = this.points[0][0];
    const width = this.points.at(-1)[0] - first || 1;
    const y = (value) => (high === low ? 10 : 19 - ((value - low) / (high - low)) * 18);
    this.sparkCell.firstElementChild.setAttribute("points", this.points.map(([at, value]) => `${(((at - first) / width) * 100).toFixed(1)},${y(value).toFixed(1)}`).join(" "));
    const decimals = this.quote?.decimals ?? 2;
    this.sparkCell.setAttribute("aria-label", `since ${words.minuteOf(first * 1000)}: from ${words.price(low, decimals)} to ${words.price(high, decimals)}`);
  }

  draw(trusted, isClosed, nowMs) {
    const quote = this.quote, why = this.reason ? words.sentence(this.reason) : "";
    write(this.whyCell, why);
    if (this.whyCell.hidden !== !why) this.whyCell.hidden = !why;
    if (!quote) return this.say(why ? "bad" : "calm", why ? "not streamed" : "waiting");
    const seconds = quote.age_s + (steadyMs() - quote.at) / 1000;
    this.receivedMs = quote.receivedMs ??= nowMs - seconds * 1000;
    write(this.ageCell, words.age(seconds));
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
    write(this.priceCell, words.price(quote.last_price, quote.decimals));
    write(this.changeCell, words.change(quote.change));
    const kind = `number change ${["down", "", "up"][words.direction(quote.change) + 1]}`;
    if (this.changeCell.className !== kind) this.changeCell.className = kind;
  }

  say(tone, text) {
    write(this.markCell, text);
    if (this.markCell.className !== `mark ${tone}`) this.markCell.className = `mark ${tone}`;
  }
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
