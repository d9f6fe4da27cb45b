// What a screen reader hears: whole blocks of the answer when they are complete, never single tokens.

const region = /** @type {HTMLElement} */ (document.getElementById("announcer"));

/** Forgets what was said; a new answer begins. */
export function clear() {
  region.replaceChildren();
}

/**
 * Says a sentence.
 * @param {string} text
 */
export function say(text) {
  const sentence = text.trim();
  if (!sentence) return;
  const line = document.createElement("p");
  line.textContent = sentence;
  region.append(line);
}
