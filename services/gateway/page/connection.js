// The stream from the gateway: it reconnects by itself, and knows when it is cut off.
//
// Ages are counted on this machine's steady clock from what the server said when it sent: a tab that
// was frozen finds, at its first step, that nothing was heard for too long. Where the steady clock
// stands while the machine sleeps, the other one tells for how long.
import { given } from "./dom.js";

export const SILENT_MS = 2500; // a pulse comes each second; the page looks four times a second
export const HEART_OLD_S = 2.5;
const AGAIN_MS = [250, 500, 1000, 2000];
const SLEPT_MS = 2000; // by which the two clocks part in a sleep, and never otherwise

let sleptMs = 0, wallMs = Date.now(), steady = performance.now();

// Milliseconds since the page was asked for, sleep included.
export function steadyMs() {
  const wall = Date.now(), now = performance.now(), ahead = wall - wallMs - (now - steady);
  if (ahead > SLEPT_MS) sleptMs += ahead;
  wallMs = wall;
  steady = now;
  return now + sleptMs;
}

export class Connection {
  constructor(heard) {
    this.heard = heard; // called with each message
    this.pulseAt = 0; // of the last pulse; what came with the page is one, and came after 0
    this.clockAt = 0;
    this.serverMs = given.utc_ms; // the server's clock at `clockAt`
    this.heartbeatAge = given.health.heartbeat_age_s; // of the daemon, then
    this.wanted = [];
    this.tries = 0;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/market`);
    this.socket = socket;
    socket.onopen = () => { if (this.wanted.length) this.send("subscribe", this.wanted); };
    socket.onmessage = (event) => {
      if (socket !== this.socket) return;
      const message = JSON.parse(event.data);
      if (message.type === "pulse") {
        this.pulseAt = this.clockAt = steadyMs();
        this.serverMs = message.utc_ms;
        this.heartbeatAge = message.heartbeat_age_s;
        this.tries = 0;
      }
      this.heard(message);
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      const wait = AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)];
      setTimeout(() => this.open(), wait);
    };
  }

  // Half-open: nothing says that the other end has gone. Begun anew.
  look() {
    const old = steadyMs() - this.pulseAt > 2 * SILENT_MS;
    if (old && this.socket.readyState === WebSocket.OPEN) {
      this.pulseAt = steadyMs() - SILENT_MS - 1;
      this.socket.close();
    }
  }

  get isSilent() { return steadyMs() - this.pulseAt > SILENT_MS; }

  // How old the daemon's last heartbeat is by now, in seconds; null when none was heard.
  get heartbeatAgeS() { return this.heartbeatAge === null ? null : this.heartbeatAge + (steadyMs() - this.pulseAt) / 1000; }

  // Whether what was said last may still be believed.
  get isTrusted() { return !this.isSilent && this.heartbeatAge !== null && this.heartbeatAgeS <= HEART_OLD_S; }

  // The server's clock now, in milliseconds since 1970.
  get nowMs() { return this.serverMs + (steadyMs() - this.clockAt); }

  want(names) {
    const gone = this.wanted.filter((name) => !names.includes(name));
    const news = names.filter((name) => !this.wanted.includes(name));
    this.wanted = [...names];
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (gone.length) this.send("unsubscribe", gone);
    if (news.length) this.send("subscribe", news);
  }

  send(type, instruments) {
    this.socket.send(JSON.stringify({ type, instruments }));
  }
}
