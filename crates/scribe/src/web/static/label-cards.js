// The prompt and its answers, as they are shown: plain text, nothing of where they came from.

import { fill } from "./label-bar.js";
import { words } from "./page.js";

const prompt = /** @type {HTMLElement} */ (document.getElementById("prompt-text"));
const list = /** @type {HTMLElement} */ (document.getElementById("answers"));
const template = /** @type {HTMLTemplateElement} */ (document.getElementById("answer-card"));

/**
 * @typedef {object} Question
 * @property {string} candidate
 * @property {number} times
 * @property {{role: string, text: string}[]} prompt
 * @property {string[]} texts
 */

/** @param {Question} question */
export function show(question) {
  prompt.replaceChildren(...question.prompt.map((message, at) => paragraph(message, question.prompt.length > 1, at)));
  list.replaceChildren(...question.texts.map((text, number) => card(text, number, question.texts.length)));
}

/**
 * @param {{role: string, text: string}} message
 * @param {boolean} named whether it is said who speaks
 * @param {number} at
 */
function paragraph({ role, text }, named, at) {
  const element = document.createElement("p");
  element.className = "said";
  if (named || role === "system") {
    const who = document.createElement("b");
    who.textContent = role === "user" ? words["label-role-user"] : words[`label-role-${role}`];
    element.append(who);
  }
  element.append(text);
  element.dataset.at = String(at);
  return element;
}

/**
 * @param {string} text
 * @param {number} number
 * @param {number} count
 */
function card(text, number, count) {
  const item = /** @type {HTMLElement} */ (/** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild);
  item.dataset.number = String(number);
  const name = fill(words["label-answer"], number + 1);
  const heading = /** @type {HTMLElement} */ (item.querySelector("h3"));
  heading.textContent = name;
  /** @type {HTMLElement} */ (item.querySelector(".text")).textContent = text;
  for (const button of item.querySelectorAll("button")) {
    if (button.dataset.act === "name") button.textContent = words[count > 2 ? "label-next-best" : "label-better"];
    else button.hidden = count === 2;
    button.ariaLabel = `${name}: ${button.dataset.act === "name" ? button.textContent : button.title}`;
  }
  return item;
}

/**
 * Shows the places of an order on the cards.
 * @param {import("./label-order.js").Order} order
 */
export function showPlaces(order) {
  for (const item of list.children) {
    if (!(item instanceof HTMLElement)) continue;
    const place = order.placeOf(Number(item.dataset.number));
    item.classList.toggle("placed", place >= 0);
    const shown = /** @type {HTMLElement} */ (item.querySelector(".place"));
    shown.textContent = place < 0 ? "" : fill(words["label-place"], place + 1);
  }
}

/**
 * Listens to the buttons of the cards.
 * @param {(act: string, number: number) => void} does
 */
export function listen(does) {
  list.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    const item = button?.closest("li");
    if (button?.dataset.act && item) does(button.dataset.act, Number(item.dataset.number));
  });
}
