// The bar with the order: numbers that can be dragged, pressed, and moved with the arrow keys.

import { words } from "./page.js";

const bar = /** @type {HTMLElement} */ (document.getElementById("order"));
/** How far a pointer moves before it drags, in pixels. */
const SLACK = 6;

/** @typedef {import("./label-order.js").Order} Order */

/**
 * @param {string} text
 * @param {...(string | number)} values in place of %1, %2, …
 */
export function fill(text, ...values) {
  return values.reduce((/** @type {string} */ filled, value, at) => filled.replaceAll(`%${at + 1}`, String(value)), text);
}

/**
 * The order in words, for a screen reader.
 * @param {Order} order
 */
export function inWords(order) {
  const names = order.groups.map((group) =>
    group.length > 1 ? fill(words["label-tied"], group.map((n) => n + 1).join(", ")) : String(group[0] + 1),
  );
  const placed = names.length ? fill(words["label-order"], names.reduce((said, name) => fill(words["label-then"], said, name))) : "";
  const free = order.groups.length && order.free.length ? fill(words["label-off"], order.free.map((n) => n + 1).join(", ")) : "";
  return `${placed} ${free}`.trim();
}

/**
 * Shows an order.
 * @param {Order} order
 */
export function show(order) {
  const focused = document.activeElement instanceof HTMLElement && bar.contains(document.activeElement) ? document.activeElement.dataset.number : null;
  const parts = order.groups.flatMap((group, place) => [
    ...(place ? [sign(">")] : []),
    ...group.flatMap((number, at) => [...(at ? [sign("=")] : []), chip(number, place)]),
  ]);
  const free = order.free.map((number) => chip(number, -1));
  const between = order.ties ? [sign("=")] : parts.length && free.length ? [sign("…")] : [];
  bar.replaceChildren(...parts, ...between, ...free);
  if (focused) chipOf(Number(focused))?.focus();
}

/** @param {number} number */
function chipOf(number) {
  const found = bar.querySelector(`[data-number="${number}"]`);
  return found instanceof HTMLElement ? found : null;
}

/** @param {string} text */
function sign(text) {
  const element = document.createElement("span");
  element.textContent = text;
  element.ariaHidden = "true";
  return element;
}

/**
 * @param {number} number
 * @param {number} place -1 for none
 */
function chip(number, place) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = place < 0 ? "chip" : "chip placed";
  button.dataset.number = String(number);
  button.textContent = String(number + 1);
  const name = fill(words["label-answer"], number + 1);
  button.ariaLabel = place < 0 ? name : `${name}, ${fill(words["label-place"], place + 1)}`;
  return button;
}

/**
 * Lets the numbers be dragged, pressed and moved.
 * @param {object} does
 * @param {(number: number) => void} does.name
 * @param {(number: number, other: number, where: "before" | "with" | "after") => void} does.move
 * @param {(number: number, by: -1 | 1) => void} does.shift
 */
export function listen({ name, move, shift }) {
  /** @type {{number: number, x: number, y: number, ghost: HTMLElement | null} | null} */
  let held = null;
  let dragged = false;
  bar.addEventListener("pointerdown", (event) => {
    const button = buttonAt(event.target);
    dragged = false;
    if (!button || event.button !== 0) return;
    held = { number: Number(button.dataset.number), x: event.clientX, y: event.clientY, ghost: null };
  });
  addEventListener("pointermove", (event) => {
    if (!held) return;
    const far = Math.hypot(event.clientX - held.x, event.clientY - held.y);
    if (!held.ghost && far < SLACK) return;
    held.ghost ??= lift(held.number);
    held.ghost.style.translate = `${event.clientX - held.x}px ${event.clientY - held.y}px`;
    mark(event, held.number);
  });
  addEventListener("pointerup", (event) => {
    const target = held?.ghost ? targetOf(event, held.number) : null;
    dragged = Boolean(held?.ghost);
    if (held && target) move(held.number, target.number, target.where);
    drop();
  });
  addEventListener("pointercancel", drop);
  bar.addEventListener("click", (event) => {
    const button = buttonAt(event.target);
    if (button && !dragged) name(Number(button.dataset.number));
    dragged = false;
  });
  bar.addEventListener("keydown", (event) => {
    const button = buttonAt(event.target);
    const by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    if (!button || !by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    shift(Number(button.dataset.number), by);
  });

  function drop() {
    if (held?.ghost) {
      held.ghost.classList.remove("lifted");
      held.ghost.style.translate = "";
    }
    for (const other of bar.querySelectorAll("[data-drop]")) other.removeAttribute("data-drop");
    held = null;
  }
}

/** @param {EventTarget | null} target */
function buttonAt(target) {
  const found = target instanceof Element ? target.closest(".chip") : null;
  return found instanceof HTMLElement ? found : null;
}

/** @param {number} number */
function lift(number) {
  const button = /** @type {HTMLElement} */ (chipOf(number));
  button.classList.add("lifted");
  return button;
}

/**
 * Where an answer would go: beside the nearest other one, or into its place.
 * @param {PointerEvent} event
 * @param {number} number
 * @returns {{number: number, where: "before" | "with" | "after"} | null}
 */
function targetOf(event, number) {
  const others = [...bar.querySelectorAll(".chip")].filter((other) => other instanceof HTMLElement && Number(other.dataset.number) !== number);
  let best = null;
  let least = Infinity;
  for (const other of others) {
    const box = other.getBoundingClientRect();
    const away = Math.hypot(event.clientX - (box.left + box.width / 2), event.clientY - (box.top + box.height / 2));
    if (away >= least) continue;
    least = away;
    const part = (event.clientX - box.left) / box.width;
    const where = part < 0.25 ? "before" : part > 0.75 ? "after" : "with";
    best = { number: Number(/** @type {HTMLElement} */ (other).dataset.number), where: /** @type {"before" | "with" | "after"} */ (where) };
  }
  // Far from the bar is nowhere.
  const box = bar.getBoundingClientRect();
  return event.clientY < box.top - 60 || event.clientY > box.bottom + 60 ? null : best;
}

/**
 * Shows where it would go.
 * @param {PointerEvent} event
 * @param {number} number
 */
function mark(event, number) {
  const target = targetOf(event, number);
  for (const other of bar.querySelectorAll(".chip")) {
    if (!(other instanceof HTMLElement)) continue;
    if (target && Number(other.dataset.number) === target.number) other.dataset.drop = target.where;
    else delete other.dataset.drop;
  }
}
