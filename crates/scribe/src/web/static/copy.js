// Copying answers and code, also where the clipboard's own interface is missing (plain http).

import { say } from "./announcer.js";
import { words } from "./page.js";

const template = /** @type {HTMLTemplateElement} */ (document.getElementById("copy-code"));

/**
 * Gives every code block in `element` (or the block itself) its button.
 * @param {HTMLElement} element
 */
export function addCopyButtons(element) {
  const captions = [...element.querySelectorAll("figure.code > figcaption")];
  if (element.matches("figure.code")) captions.push(...element.querySelectorAll("figcaption"));
  for (const caption of new Set(captions)) {
    if (!caption.querySelector("button")) caption.append(template.content.cloneNode(true));
  }
}

/**
 * Copies `text` and shows on `button` that it worked.
 * @param {HTMLElement} button
 * @param {string} text
 */
export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyBySelection(text)) return;
  }
  say(words.copied);
  const icon = button.querySelector("use");
  const label = button.querySelector("span");
  icon?.setAttribute("href", "#i-check");
  if (label) label.textContent = words.copied;
  setTimeout(() => {
    icon?.setAttribute("href", "#i-copy");
    if (label) label.textContent = words.copy;
  }, 1600);
}

/**
 * @param {string} text
 * @returns {boolean} whether it worked
 */
function copyBySelection(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
