// kiteconnectjs as its documentation uses it. Two uses, both in lines of JSON (benchmarks/reading.py):
//   node kiteconnectjs.cjs MODULE read     one run of a reader
//   node kiteconnectjs.cjs MODULE decode   times parseBinary on the frames of files
"use strict";

const fs = require("fs");
const readline = require("readline");
const { KiteTicker } = require(process.argv[2]);

const FRAMES_MAX = 65_536; // benchmarks/frames.py
const SILENT_NS = 2_000_000_000n;
const DIVISORS = { 3: 10_000_000, 6: 10_000 };
const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const say = (message) => fs.writeSync(1, JSON.stringify(message) + "\n");
const nowNs = () => process.hrtime.bigint(); // CLOCK_MONOTONIC on Linux, as Python's

async function hear() {
  const { value, done } = await input.next();
  if (done) process.exit(0);
  return JSON.parse(value);
}

function wirePrice(tick) {
  return Math.round(tick.last_price * (DIVISORS[tick.instrument_token & 0xff] || 100));
}

async function read() {
  const given = await hear();
  const [host, port] = given.address.split(":");
  const batches = [];
  const timesNs = [];
  const unseen = new Set(given.tokens);
  let missing = given.ticks;
  let heardNs = nowNs();
  let isReady = false;
  const ended = new Promise((resolve) => {
    const ticker = new KiteTicker({
      api_key: given.key,
      access_token: "token",
      root: `${given.scheme}://${host}:${port}`,
      reconnect: false,
    });
    ticker.on("connect", () => {
      ticker.subscribe(given.tokens);
      ticker.setMode(ticker.modeFull, given.tokens);
    });
    ticker.on("ticks", (ticks) => {
      const atNs = nowNs();
      const number = wirePrice(ticks[0]) - given.first_price;
      if (number >= 0 && number < FRAMES_MAX) {
        batches.push(ticks);
        timesNs.push(atNs);
        heardNs = atNs;
        missing -= ticks.length;
        if (missing <= 0) resolve();
      } else if (!isReady) {
        for (const tick of ticks) unseen.delete(tick.instrument_token);
        if (unseen.size === 0) {
          isReady = true;
          heardNs = nowNs() + 17_000_000_000n;
          say({ ready: true });
        }
      }
    });
    setInterval(() => {
      if (isReady && nowNs() - heardNs > SILENT_NS) resolve();
    }, 500).unref();
    ticker.connect();
  });
  await ended;
  say({ end: true });
  const told = await hear();
  // Compared by benchmarks/handed_over.py: this end only hands over what it has decoded.
  const file = fs.openSync(told.ticks, "w");
  for (let n = 0; n < batches.length; n++) {
    fs.writeSync(file, JSON.stringify({ at_ns: timesNs[n].toString(), ticks: batches[n] }) + "\n");
  }
  fs.closeSync(file);
  say({ written: true });
  process.exit(0);
}

async function decode() {
  const ticker = new KiteTicker({ api_key: "k", access_token: "t" });
  for (;;) {
    const { frame, rounds } = await hear();
    const bytes = fs.readFileSync(frame);
    const binary = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    const before = process.cpuUsage();
    let ticks = [];
    for (let n = 0; n < rounds; n++) ticks = ticker.parseBinary(binary);
    const spent = process.cpuUsage(before);
    say({ cpu_us: spent.user + spent.system, ticks });
  }
}

(process.argv[3] === "read" ? read : decode)();
