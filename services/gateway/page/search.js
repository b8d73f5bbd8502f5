// Adding by typing: what is much like it is found, too.
import { $, make } from "./dom.js";

const LETTERS_MIN = 2;

export function search(list) {
  const input = $("name"), found = $("found");
  let choice = -1, asked = 0;

  input.oninput = async () => {
    const number = ++asked, text = input.value.trim();
    if (text.length < LETTERS_MIN) return show([]);
    let rows = [], none = `Nothing like “${text}” is in today's list of instruments.`;
    try {
      const answer = await fetch(`/api/find?q=${encodeURIComponent(text)}`);
      if (answer.ok) rows = await answer.json();
      else none = (await answer.text()).trim();
    } catch { none = "kitefeed does not answer."; }
    if (number === asked) show(rows, none);
  };

  function show(rows, none = "") {
    choice = rows.length ? 0 : -1;
    found.replaceChildren(...rows.map((row, at) => {
      const has = list.has(row.instrument);
      const item = make("li", "", row.instrument, make("small", "", [has && "in your list", row.is_near && "did you mean this?", row.name, row.kind, row.expiry].filter(Boolean).join(" · ")));
      item.id = `found-${at}`;
      item.role = "option";
      item.dataset.name = row.instrument;
      item.onmousedown = (event) => { event.preventDefault(); choose(row.instrument); };
      return item;
    }));
    $("none").hidden = !none || rows.length > 0;
    $("none").textContent = $("none").hidden ? "" : none;
    mark();
  }

  function mark() {
    found.hidden = found.children.length === 0;
    input.setAttribute("aria-expanded", String(!found.hidden));
    [...found.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === choice)));
    if (choice >= 0) input.setAttribute("aria-activedescendant", `found-${choice}`);
    else input.removeAttribute("aria-activedescendant");
    found.children[choice]?.scrollIntoView({ block: "nearest" });
  }

  function choose(name) {
    asked++;
    input.value = "";
    show([]);
    list.take(name);
  }

  input.onkeydown = (event) => {
    const count = found.children.length;
    if (event.key === "ArrowDown" && count) choice = (choice + 1) % count;
    else if (event.key === "ArrowUp" && count) choice = (choice + count - 1) % count;
    else if (event.key === "Escape") { asked++; return show([]); }
    else return;
    event.preventDefault();
    mark();
  };
  input.onblur = () => { found.hidden = true; input.setAttribute("aria-expanded", "false"); };
  $("add").onsubmit = (event) => {
    event.preventDefault();
    const typed = input.value.trim().toUpperCase();
    const name = found.children[choice]?.dataset.name ?? (typed.includes(":") ? typed : "");
    if (name) choose(name);
  };
}
