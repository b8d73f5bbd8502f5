// The feed in JavaScript, without kitefeed. See docs/wire-format.md.
//
//   npm install zeromq@6 @msgpack/msgpack@3
//   node raw_reader.mjs ipc:///home/me/.kitefeed/run/feed.sock NSE:INFY NSE:TCS

import { decode } from "@msgpack/msgpack";
import { XSubscriber } from "zeromq";

const CACHED_OR_STALE = 4 | 8;
const FIRST_PACKET = 16;
const MS = 1_000_000n; // in ns
const HEARTBEAT_HOLDS_NS = 2_500n * MS;
const LATE_NS = 2_000n * MS; // a message as old as this is the past; and as often one may begin anew
const FULL_QUEUE = 4_000; // messages; with fewer since the heartbeat before last, no queue of ours was full

const max = (a, b) => (a > b ? a : b);
const wallNs = () => BigInt(Date.now()) * MS;
const monotonicNs = () => process.hrtime.bigint();

/** One message as it came. `body`: of a tick, an array; of a heartbeat, a map. */
class Message {
  constructor(array) {
    // Whole numbers above 32 bits become BigInts, all others numbers: BigInt() makes them alike.
    const fields = decode(array, { useBigInt64: true });
    [this.v, this.gen, this.shard, this.epoch, this.seq, this.source, this.flags] = fields;
    this.tPubNs = BigInt(fields[8]);
    this.body = fields[9];
    this.wallNs = wallNs();
    this.monotonicNs = monotonicNs();
    this.behindNs = max(0n, this.wallNs - this.tPubNs);
    this.arrivedAgeNs = max(0n, this.tPubNs - BigInt(fields[7])) + this.behindNs;
  }

  /** Since it was received by the daemon; a heartbeat's: since it was sent. The monotonic clock
   * stops while the host sleeps, and the wall clock may be set: the larger of both is right. */
  ageNs() {
    return this.arrivedAgeNs + max(monotonicNs() - this.monotonicNs, wallNs() - this.wallNs);
  }
}

/** Keeps the newest tick of each instrument, and judges it. */
class Reader {
  constructor(endpoint, instruments) {
    this.endpoint = endpoint;
    this.topics = ["hb/feed", ...instruments.map((name) => `tick/${name}`)];
  }

  /** The daemon sends the last value of each exact topic to every new connection. */
  async begin() {
    this.socket?.close();
    // A Subscriber has no sendHighWaterMark, and loses every subscription above the thousandth.
    this.socket = new XSubscriber({
      sendHighWaterMark: 0, receiveHighWaterMark: 30_000, linger: 0,
      heartbeatInterval: 1_000, heartbeatTimeToLive: 3_000, heartbeatTimeout: 3_000,
    });
    this.beganNs = monotonicNs();
    this.ticks = new Map();
    this.seqs = new Map();
    this.beat = null;
    this.gen = 0;
    this.hasLost = false;
    this.counts = [0, 0]; // messages since the last heartbeat, and between the two before
    this.socket.connect(this.endpoint);
    for (const topic of this.topics) await this.socket.send(`\x01${topic}\0`);
  }

  /** The topic of the next new tick, which is then in `ticks`. */
  async next() {
    for (;;) {
      const isDue = this.hasLost && monotonicNs() - this.beganNs > LATE_NS;
      if (!this.socket || isDue) await this.begin();
      const [frame] = await this.socket.receive();
      const end = frame.indexOf(0);
      const topic = frame.toString("utf8", 0, end);
      const message = new Message(frame.subarray(end + 1));
      if (message.v !== 1 || !this.isNew(topic, message)) continue;
      if (topic !== "hb/feed") {
        this.ticks.set(topic, message);
        return topic;
      }
      this.hear(message);
    }
  }

  isNew(topic, message) {
    this.counts[0] += 1;
    if (message.gen !== this.gen) {
      this.gen = message.gen; // another broadcaster, which counts anew
      this.beat = null;
      this.seqs.clear();
    }
    if (message.behindNs > LATE_NS) {
      this.lose(); // what waits here is the past
      return false;
    }
    const last = this.seqs.get(topic) ?? 0;
    if (last && message.seq <= last) return false; // sent again for somebody else, or from disk
    if (last && message.seq > last + 1) this.lose();
    this.seqs.set(topic, message.seq);
    return true;
  }

  hear(beat) {
    const queues = (each) => each.body.full_queues ?? 0;
    const isFull = queues(beat) !== queues(this.beat ?? beat);
    if (isFull && this.counts[0] + this.counts[1] >= FULL_QUEUE) this.lose();
    this.beat = beat;
    this.counts = [0, this.counts[0]];
  }

  /** A newer value of any instrument may be among what was lost: none of them counts. */
  lose() {
    this.ticks.clear();
    this.hasLost = true;
  }

  /** Whether the newest tick of `topic` is current. Ask when the value is used. */
  isFresh(topic) {
    const tick = this.ticks.get(topic);
    const { beat } = this;
    if (!tick || !beat || beat.ageNs() > HEARTBEAT_HOLDS_NS) return false;
    if (tick.gen !== beat.gen || tick.flags & CACHED_OR_STALE) return false;
    for (const entry of beat.body.shards) {
      const [shard, source, epoch, , , , , , since, segments] = entry;
      if (shard !== tick.shard || source !== tick.source || epoch !== tick.epoch) continue;
      let sinceNs = BigInt(since ?? 0);
      for (const [segment, segmentSince] of segments ?? []) {
        if (segment !== (Number(tick.body[0]) & 0xff)) continue;
        sinceNs = tick.flags & FIRST_PACKET ? 0n : BigInt(segmentSince);
      }
      // A millisecond, because that is how exact the wall clock is here.
      return sinceNs > 0n && tick.ageNs() + MS <= beat.ageNs() + beat.tPubNs - sinceNs;
    }
    return false;
  }
}

const [endpoint, ...instruments] = process.argv.slice(2);
if (!instruments.length || !endpoint.includes("://")) {
  console.error(
    "Name the feed's endpoint (`kitefeed status --json`) and instruments: " +
      "node raw_reader.mjs ipc:///home/me/.kitefeed/run/feed.sock NSE:INFY",
  );
  process.exit(2);
}
const reader = new Reader(endpoint, instruments);
for (;;) {
  const topic = await reader.next();
  const { body } = reader.ticks.get(topic);
  const word = reader.isFresh(topic) ? "fresh" : "stale";
  console.log(topic.slice("tick/".length), (Number(body[3]) / body[2]).toFixed(2), word);
}
