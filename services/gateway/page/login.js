// The way to a session: the app's key and redirect URL, its secret, Kite's page, and back.
import { $, all, copy, given, post, problem, write } from "./dom.js";
import { toast } from "./happened.js";

const BEGUN = "kitefeed.login", BEGUN_MS = 600_000; // as long as the gateway waits for it

export function drawApp() {
  const hasKey = Boolean(given.api_key);
  for (const place of all(".redirect")) write(place, given.redirect_url);
  for (const place of all(".key")) write(place, given.api_key);
  $("step-app").classList.toggle("done", hasKey && !given.elsewhere);
  $("step-key").classList.toggle("done", hasKey);
  $("key-form").hidden = hasKey;
  $("key-known").hidden = !hasKey;
  $("first-login").disabled = !hasKey;
  for (const warning of all(".elsewhere")) warning.hidden = !given.elsewhere;
  for (const place of all(".configured")) write(place, given.elsewhere);
}

async function setApp(body) {
  told("key-problem", "");
  try {
    Object.assign(given, JSON.parse(await post("/api/app", body)));
    drawApp();
    changed();
    return true;
  } catch (error) {
    told("key-problem", error.message);
    return false;
  }
}

function told(id, text) {
  $(id).hidden = !text;
  write($(id), text);
}

export async function login(body = {}) {
  if (!body.secret && !given.has_secret) return askSecret();
  try {
    const { url } = JSON.parse(await post("/api/login", body));
    note(Date.now());
    location.assign(url);
  } catch (error) {
    problem(error.message);
    given.has_secret = false; // should it be gone, the next click asks for it
  }
}

function askSecret() {
  if (!given.api_key) return $("api-key").focus();
  const dialog = $("secret");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    const secret = $("secret-text").value.trim(), keep = $("secret-keep").checked;
    $("secret-text").value = "";
    if (dialog.returnValue === "yes" && secret) login({ secret, keep });
  }, { once: true });
}

// --- a login that does not come back ------------------------------------------------------------

function note(ms) {
  try { if (ms) localStorage.setItem(BEGUN, ms); else localStorage.removeItem(BEGUN); } catch { /* then it is not missed */ }
}

// Whether one was begun here, and nothing was heard of it.
function isMissed() {
  try { return Date.now() - (Number(localStorage.getItem(BEGUN)) || -Infinity) < BEGUN_MS; } catch { return false; }
}

export function drawMissed(isOut) {
  if (!isOut) note(0);
  $("missed").hidden = !(isOut && isMissed());
}

async function finishPasted() {
  told("paste-problem", "");
  try {
    const trouble = await post("/api/login/pasted", { address: $("pasted").value });
    note(0);
    $("missed").hidden = true;
    toast("Logged in.", trouble || "Prices are live within seconds.", trouble ? "rest" : "live");
    if (trouble) problem(trouble);
  } catch (error) { told("paste-problem", error.message); }
  $("pasted").value = "";
}

let changed; // called when the app is another

export function prepare(tell) {
  changed = tell;
  drawApp();
  for (const button of all(".copy")) button.onclick = () => copy(given.redirect_url, button);
  $("login").onclick = $("first-login").onclick = () => login();
  $("key-form").onsubmit = async (event) => {
    event.preventDefault();
    if (await setApp({ api_key: $("api-key").value })) $("first-login").focus();
  };
  $("key-change").onclick = () => {
    $("key-form").hidden = false;
    $("key-known").hidden = true;
    $("api-key").value = given.api_key;
    $("api-key").focus();
  };
  $("redirect-here").onclick = () => setApp({ is_redirected_here: true });
  $("secret").querySelector("[value=no]").onclick = () => $("secret").close("no");
  $("paste").onsubmit = (event) => { event.preventDefault(); finishPasted(); };
  $("missed-close").onclick = () => { note(0); $("missed").hidden = true; };
  if (location.hash === "#login") askSecret();
  if (["#told", "#login", "#logged-in"].includes(location.hash)) note(0);
  if (location.hash === "#logged-in") toast("Logged in.", "Prices are live within seconds.", "live");
  if (location.hash) history.replaceState(null, "", "/");
}
