// What the other modules share: elements, and how they are written to.
export const $ = (id) => document.getElementById(id);
export const all = (selector) => document.querySelectorAll(selector);
export const given = JSON.parse($("given").textContent);

// Into the text that is there: a new node for each price is what a page would pay most for.
export function write(element, text) {
  const node = element.firstChild;
  if (!node) element.textContent = text;
  else if (node.nodeValue !== text) node.nodeValue = text;
}

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// The children of an element, made anew only when what they show has changed.
const shown = new WeakMap();
export function replace(element, items, maker) {
  const now = JSON.stringify(items);
  if (shown.get(element) === now) return;
  shown.set(element, now);
  element.replaceChildren(...items.map(maker));
}

export function problem(text) {
  $("problem").hidden = !text;
  write($("problem-text"), text);
}

// Tells once with a POST of this page what a person wants; raises with the sentence of a refusal.
export async function post(path, body, isFirst = true) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Kitefeed-Page": given.page_token }, body: JSON.stringify(body) })
    .catch(() => { throw new Error("kitefeed does not answer: nothing was changed."); });
  const text = await answer.text();
  if (answer.status === 403 && isFirst) { // the gateway was restarted since, and gives another token to its page
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    given.page_token = JSON.parse(page.getElementById("given").textContent).page_token;
    return post(path, body, false);
  }
  if (!answer.ok) throw new Error(text.trim());
  return text;
}

export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  write(button, "Copied");
  setTimeout(() => write(button, "Copy"), 3000);
}
