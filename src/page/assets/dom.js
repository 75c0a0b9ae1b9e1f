// Making and changing elements. Text goes in as text nodes only, so that whatever a rocket calls itself stays text; attributes are
// set by name. `show` changes a text only where it differs, which keeps repaints of a live table cheap.

/** Makes an element: `el("button", { class: "quiet", onclick }, "Skip")`. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** The element with this id, which the document has. */
export function byId(id) {
  return document.getElementById(id);
}

/** Sets a text if it is another one. */
export function show(node, text) {
  if (node.shown === text) return;
  node.shown = text;
  node.textContent = text;
}

/** Sets an attribute if it is another one; null takes it away. */
export function mark(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/** A shape and a word for a status, so that colour is never alone. */
export function badge(status, text = status) {
  return el("span", { class: "badge", "data-status": status }, el("i", { class: "shape", "aria-hidden": "true" }), el("span", {}, text));
}

/** Changes a badge in place. */
export function setBadge(node, status, text = status) {
  mark(node, "data-status", status);
  show(node.lastChild, text);
}

/** Calls a function once after things have been quiet for a while. */
export function debounced(milliseconds, act) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds, ...values);
  };
}

/** Whether a key is meant for a field that takes text. */
export function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=radio], [type=range]), select, textarea, [contenteditable]");
}

/** Says something to those who listen instead of looking. */
export function announce(text) {
  byId("announcer").textContent = text;
}
