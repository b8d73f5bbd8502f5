// Prices over the gateway's WebSocket, in JavaScript without any package. See docs/gateway.md.
//
//   node examples/http_reader.mjs http://127.0.0.1:8787 NSE:INFY "NSE:NIFTY 50"
//
// Node 22 and browsers have WebSocket; Node 20 with `node --experimental-websocket`.

const SILENT_MS = 3000; // a pulse comes each second: without one, no price is known to be current
const [url, ...instruments] = process.argv.slice(2);

function connect() {
  const socket = new WebSocket(`${url.replace("http", "ws")}/ws/market`);
  let timer;
  let isOver = false;

  const end = () => { // once: by the other end, or because nothing was heard
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    console.log("LOST: no price is current");
    socket.close();
    setTimeout(connect, 1000);
  };
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(end, SILENT_MS);
  };

  heard();
  socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", instruments, rate: 2 }));
  socket.onclose = end;
  socket.onerror = end;
  socket.onmessage = (event) => {
    if (isOver) return;
    const message = JSON.parse(event.data);
    if (message.type === "pulse") heard();
    if (message.type === "feed") console.log(`FEED ${message.health.feed}: ${message.health.reason}`);
    if (message.type === "refused") console.log("REFUSED", message.refused);
    if (message.type === "quotes") message.quotes.forEach(show);
  };
}

function show({ instrument, last_price, fresh, source, age_s, decimals }) {
  const word = fresh ? source : `${source}, do not trade`;
  console.log(`${instrument}  ${last_price.toFixed(decimals)}  ${age_s.toFixed(1)} s  ${word}`);
}

connect();
