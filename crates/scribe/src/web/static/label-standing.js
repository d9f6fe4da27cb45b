// Where everybody stands: how many answers, and how far people agree.

import { fill } from "./label-bar.js";
import { words } from "./page.js";

/**
 * @typedef {object} Standing
 * @property {{done: number, all: number}} own
 * @property {{done: number, all: number}} together
 * @property {{name: string, answers: number}[]} people
 * @property {number} shared candidates that two or more have ranked
 * @property {number | null} alpha
 * @property {{over: number, tau: number} | null} tau
 * @property {{over: number, tau: number} | null} repeats
 */

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const bar = /** @type {HTMLProgressElement} */ (document.getElementById("progress-bar"));

/** @param {number} value */
const digits = (value) => value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 2, minimumFractionDigits: 2 });

/** @param {Standing} standing */
export function show({ own, together, people, shared, alpha, tau, repeats }) {
  part("progress").textContent = fill(words["label-progress"], own.done, own.all);
  bar.max = Math.max(own.all, 1);
  bar.value = own.done;
  part("together").textContent = fill(words["label-people"], together.done, together.all);
  part("people").replaceChildren(...people.map(row));
  const two = alpha === null ? words["label-agreement-few"] : fill(words["label-agreement-two"], shared, digits(alpha), tau ? digits(tau.tau) : "–");
  const self = repeats ? fill(words["label-agreement-self"], repeats.over, digits(repeats.tau)) : "";
  part("agreement").textContent = `${two} ${self}`.trim();
}

/** @param {{name: string, answers: number}} person */
function row({ name, answers }) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  const cell = document.createElement("td");
  cell.textContent = answers.toLocaleString(document.documentElement.lang);
  line.append(head, cell);
  return line;
}
