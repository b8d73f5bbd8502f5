// The same bot on the official JavaScript client.
const [modules, root, password, tokens, mode] = JSON.parse(process.argv[2]);
const { KiteTicker } = require(modules);
const say = (what) => console.log(JSON.stringify(what));
const ticker = new KiteTicker({ api_key: "any", access_token: password, root });
ticker.on("connect", () => { say({ event: "connect" }); ticker.subscribe(tokens); ticker.setMode(mode, tokens); });
ticker.on("ticks", (ticks) => say({ event: "ticks", ticks }));
ticker.on("error", (error) => say({ event: "error", reason: String(error && error.message) }));
ticker.on("close", (reason) => say({ event: "close", reason: String(reason) }));
ticker.on("reconnect", (tries) => say({ event: "reconnect", tries }));
ticker.connect();
